"""Kernel modules: loaded or not, how many references, loading and unloading."""

import subprocess
from pathlib import Path

from vfio_hw.errors import HarnessError, KernelSplat, Unsupported
from vfio_hw.host.process import process_state
from vfio_hw.host.sysfs import attribute, names_in

MODULES = Path("/sys/module")


def is_loaded(name: str) -> bool:
    """The module is in the kernel, be it loaded or built in."""
    return (MODULES / _kernel_name(name)).is_dir()


def references(name: str) -> int | None:
    """Its reference count; None when it is not loaded, or built in and so never counted."""
    count = attribute(MODULES / _kernel_name(name) / "refcnt")
    return None if count is None else int(count)


def holders(name: str) -> list[str]:
    """The loaded modules that use it, each of which holds one of its references."""
    return names_in(MODULES / _kernel_name(name) / "holders")


def load(name: str, *parameters: str, deadline: float = 60.0) -> None:
    """The module is loaded; nothing happens when it already is.

    :param parameters: ``name=value`` each, used only when it is loaded now.
    :raises Unsupported: this kernel has no such module.
    :raises KernelSplat: the module is there and does not load, or not within ``deadline`` seconds.
    """
    if is_loaded(name):
        return
    answer = _modprobe([name, *parameters], deadline)
    if answer and "not found" in answer:
        raise Unsupported(
            f"this kernel has no module {name}: build it with the option that adds it"
        )
    if answer:
        raise KernelSplat(f"modprobe {name} failed: {answer}; see the kernel log", oracle="modules")


def unload(name: str, deadline: float = 60.0) -> None:
    """The module is no longer loaded, nor any that only it needed.

    :raises HarnessError: it is in use, or built in.
    :raises KernelSplat: the module did not go within ``deadline`` seconds.
    """
    if not is_loaded(name):
        return
    answer = _modprobe(["-r", name], deadline)
    # Only this counts: modprobe also complains when a dependent's removal took the module along.
    if is_loaded(name):
        raise HarnessError(
            f"module {name} can not be unloaded: {answer or 'it is built in'}; references"
            f" {references(name)}, used by {', '.join(holders(name)) or 'no module'}"
        )


def _modprobe(arguments: list[str], deadline: float) -> str:
    """What modprobe complained of; "" when it succeeded."""
    try:
        child = subprocess.Popen(
            ["modprobe", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C at the terminal is not for a module's init
        )
    except FileNotFoundError:
        raise HarnessError("modprobe is not installed: install the package kmod") from None
    try:
        _, complaint = child.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        where = process_state(child.pid)
        child.kill()  # it ends when the kernel lets it; waiting for that could take for ever
        raise KernelSplat(
            f"modprobe {' '.join(arguments)} did not return within {deadline:g} s: {where}",
            oracle="hang",
        ) from None
    return " ".join(complaint.split()) or "no message" if child.returncode else ""


def _kernel_name(name: str) -> str:
    return name.replace("-", "_")
