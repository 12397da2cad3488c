"""Which test runs, on disk before it begins; so that a machine that dies says during which one."""

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from vfio_hw.errors import HarnessError
from vfio_hw.host import shared
from vfio_hw.host.journals import boot
from vfio_hw.host.state import State
from vfio_hw.oracle import taint

_RUNNING, _DISTRUSTED, _TRUSTED = "running", "distrusted", "trusted"


@dataclass(frozen=True)
class Running:
    """The test, the boot that it ran in, since when (seconds since 1970), and its record."""

    test: str
    boot: str
    began: float
    results: str


def began(state: State, test: str, results: str) -> None:
    """The test is about to begin; on disk when this returns."""
    state.replace(_RUNNING, json.dumps(asdict(Running(test, boot(), time.time(), results))))


def over(state: State) -> None:
    """No test runs any more."""
    state.remove(_RUNNING)


def settle(state: State) -> str | None:
    """Forget the test of a run that was killed in the boot that still is; its name.

    When the machine is booted later on, that is not because it died in the test.
    """
    test = cut_short(state)
    if test is None or test.boot != boot():
        return None
    over(state)
    return test.test


def cut_short(state: State) -> Running | None:
    """The test whose end nobody has noted."""
    text = state.text(_RUNNING)
    try:
        return None if text is None else Running(**json.loads(text))
    except (ValueError, TypeError):
        # It is replaced whole, or not at all; so somebody else has written this.
        state.remove(_RUNNING)
        return None


def distrust(state: State, text: str) -> None:
    """The kernel that runs now is not to be given another test."""
    state.replace(_DISTRUSTED, json.dumps({"boot": boot(), "text": text}))
    shared.mark(text)


def distrusted(state: State) -> str | None:
    """Why the kernel that runs now is not to be given another test; None: it may have one.

    An earlier run, of any user, has said so, or the kernel has noted a fault of its own since a
    run has first trusted it. Whose fault that was can not be told: no run may have lived to see it.
    """
    if noted := _noted(state, _DISTRUSTED):
        return str(noted.get("text", "an earlier run has noted a fault"))
    if marked := next(iter(shared.marks()), None):
        return marked
    trusted = _noted(state, _TRUSTED)
    if trusted and (new := taint.faults() - set(trusted.get("faults", []))):
        kinds = ", ".join(sorted(new))
        return f"the kernel has noted a fault ({taint.TAINTED}) since the first run: {kinds}"
    return None


def must_be_trusted(state: State) -> None:
    """The kernel that runs now has not shown a fault in an earlier run, nor since the first one.

    :raises HarnessError: it has.
    """
    why = distrusted(state)
    if why is not None:
        raise HarnessError(
            f"{why}: this kernel is given no further test; reboot the machine, or say --after-splat"
        )
    if _noted(state, _TRUSTED) is None:
        noted = {"boot": boot(), "faults": sorted(taint.faults())}
        state.replace(_TRUSTED, json.dumps(noted))


def _noted(state: State, name: str) -> dict[str, Any] | None:
    """What a file says of the kernel that runs now; what it says of another one is removed."""
    text = state.text(name)
    if text is None:
        return None
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found: dict[str, Any] = json.loads(text)
        if found["boot"] == boot():
            return found
    state.remove(name)
    return None
