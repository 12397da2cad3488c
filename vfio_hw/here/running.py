"""Which test runs, on disk before it begins; so that a machine that dies says during which one."""

import json
import time
from dataclasses import asdict, dataclass

from vfio_hw.errors import HarnessError
from vfio_hw.host import shared
from vfio_hw.host.journal import boot
from vfio_hw.host.state import State

_RUNNING, _DISTRUSTED = "running", "distrusted"


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
    """Why the kernel that runs now is not to be given another test; None: it may have one."""
    text = state.text(_DISTRUSTED)
    if text is None:
        return next(iter(shared.marks()), None)
    try:
        found = json.loads(text)
        if found["boot"] == boot():
            return str(found["text"])
    except (ValueError, KeyError, TypeError):
        pass
    state.remove(_DISTRUSTED)
    return next(iter(shared.marks()), None)


def must_be_trusted(state: State) -> None:
    """The kernel that runs now has not shown a fault in an earlier run.

    :raises HarnessError: it has.
    """
    why = distrusted(state)
    if why is not None:
        raise HarnessError(
            f"{why}: this kernel is given no further test; reboot the machine, or say --after-splat"
        )
