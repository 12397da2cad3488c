"""What `vfio-hw doctor` finds of earlier runs on this machine."""

from collections.abc import Iterator

from vfio_hw.errors import HarnessError
from vfio_hw.here import running
from vfio_hw.here.check import GOOD, NOT_HERE, NOTE, Check
from vfio_hw.host import journals
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.state import State, denied, directory


def leftovers() -> Iterator[Check]:
    """What was not put back, the test that the machine died in, a kernel that is not trusted."""
    try:
        if not directory().exists():
            yield Check("leftovers", GOOD, f"none: there is no {directory()}")
            return
        state = State()
        with machine_locked(state):
            found = list(_found(state))
    except HarnessError as error:
        yield Check("leftovers", NOT_HERE, str(error))
        return
    except PermissionError as error:
        yield Check("leftovers", NOT_HERE, denied(error))
        return
    yield from found or [Check("leftovers", GOOD, "none")]


def _found(state: State) -> Iterator[Check]:
    for each in journals.left(state):
        if each.boot != journals.boot():
            text = f"pid {each.pid} changed something in an earlier boot: nothing of that is left"
            yield Check("leftovers", NOTE, text, "vfio-hw restore, or the next run, forgets it")
            continue
        changed = [target for target, record in each.records.items() if record.ours]
        if staying := [target for target in changed if each.stays(target)]:
            drivers = [target.name for target in staying if target.kind == "driver"]
            text = f"{', '.join(drivers) or 'what it took'}, by vfio-hw bind"
            yield Check("bound", NOTE, text, "vfio-hw unbind, when they are no longer needed")
        if left := len(changed) - len(staying):
            who = f"pid {each.pid}"
            if each.purpose == "bind":
                who = "vfio-hw unbind" if each.complete else f"{who}, vfio-hw bind,"
            text = f"{who} has left {left} changes"
            yield Check("leftovers", NOTE, text, "vfio-hw restore, or the next run, undoes them")
    if ended := running.settle(state):
        yield Check("earlier run", NOTE, f"it was killed in {ended}; the machine has lived on")
    test = running.cut_short(state)
    if test is not None:
        text = f"the machine died, or was reset, in {test.test}"
        yield Check("earlier run", NOTE, text, "the next run tells its last words")
    if why := running.distrusted(state):
        yield Check("trust", NOT_HERE, why, "reboot, or run with --after-splat")
