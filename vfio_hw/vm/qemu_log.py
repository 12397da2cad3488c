"""What QEMU says of its own end."""

import signal

# What it says when it is asked to end, and then ends as if its guest had powered off.
_TERMINATED = "terminating on signal"


def killed_by(said: str, returncode: int) -> str:
    """Who has ended a QEMU, which speaks of neither kernel nor QEMU; empty when nobody has."""
    if _TERMINATED in said:
        return said.strip().splitlines()[-1]
    return "by SIGKILL" if returncode == -signal.SIGKILL else ""


def why_silent(said: str, returncode: int | None) -> str:
    """Why no kernel spoke.

    :param returncode: None when QEMU had not ended by itself.
    """
    if returncode is not None:
        words = said.strip().splitlines()
        own = [line for line in words if line.startswith("qemu-system")] or words[-1:]
        why = own[-1] if own else "it said nothing: is the image a kernel?"
        return f"QEMU ended with status {returncode} before a kernel spoke: {why}"
    return (
        "no kernel spoke on the console before the deadline: it needs"
        " CONFIG_SERIAL_8250_CONSOLE=y, and to be for this kind of processor"
    )
