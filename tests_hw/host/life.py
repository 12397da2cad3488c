"""A run in little: it changes of the machine what a run changes, and puts it back."""

import contextlib
import os
import select
import signal
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path

from vfio_hw.host import journal, journals, modules, sysfs, writer
from vfio_hw.host.binding import bound_to, rebind
from vfio_hw.host.blocking import write_with_deadline
from vfio_hw.host.inventory import functions_of_kind
from vfio_hw.host.journal import Journal
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.process import process_state
from vfio_hw.host.rescan import rescan_bus_of
from vfio_hw.host.restore import restore
from vfio_hw.host.state import State
from vfio_hw.host.tree import functions

#: Seconds for the last write of a life that was cut off, on a busy machine.
PATIENCE = 60.0
#: Seconds for a life, or a restore; one or two are enough.
DEADLINE = 120.0
MODULES = ("nvme", "e1000e", "vfio-pci", "mtty", "virtio_blk")


def controllers_with_virtual_functions() -> list[PciFunction]:
    """Those that can have them: one whose are in groups of their own, and one whose are not."""
    return [each for each in functions() if (each.path / "sriov_totalvfs").exists()]


def controller_with_virtual_functions() -> PciFunction:
    """The first of them."""
    return controllers_with_virtual_functions()[0]


@contextlib.contextmanager
def set_to(path: Path, text: str):
    """An attribute has another value inside."""
    old = sysfs.attribute(path)
    sysfs.write(path, text)
    try:
        yield
    finally:
        sysfs.write(path, old or "\n")


def taken_off_and_brought_back(function: PciFunction) -> None:
    """As in a race: what comes back is another one, with nothing of what this one was set to."""
    write_with_deadline(function.path / "remove", "1", PATIENCE)
    rescan_bus_of(function.address, PATIENCE, override="vfio-pci")
    rebind(function, "vfio-pci", PATIENCE)


def life(state: State) -> None:
    """Everything a journal knows of, one in the other."""
    edu, card = functions_of_kind("edu")[0], functions_of_kind("e1000e")[0]
    physical = controller_with_virtual_functions()
    with machine_locked(state, PATIENCE):
        kept = Journal.begun(state, "run")
        with journal.kept(kept), contextlib.ExitStack() as stack:
            stack.enter_context(set_to(physical.path / "sriov_numvfs", "1"))
            stack.enter_context(created(type_by_id("mtty-1"), str(uuid.uuid4())))
            stack.enter_context(bound_to(edu))
            stack.enter_context(bound_to(card))
            stack.enter_context(set_to(card.path / "power/control", "on"))
            stack.enter_context(set_to(card.path / "reset_method", "\n"))
            taken_off_and_brought_back(card)
        kept.close()


def machine() -> dict[str, str | None]:
    """What of this machine a life changes, as it is now."""
    found: dict[str, str | None] = {}
    for function in functions():
        found[f"{function} driver"] = function.driver
        for name in ("driver_override", "power/control", "reset_method", "sriov_numvfs"):
            found[f"{function} {name}"] = sysfs.attribute(function.path / name)
    found["mdevs"] = " ".join(sysfs.names_in(Path("/sys/bus/mdev/devices")))
    return found


def every_moment(do: Callable[[], None]) -> None:
    """``do`` is called after each line of a journal, each sync, and at each write to sysfs.

    A write by a child has been asked for by then, and may or may not have been made.
    """

    def then(function):
        def wrapped(*args):
            result = function(*args)
            do()
            return result

        return wrapped

    Journal._append = _with_keywords(Journal._append, do)  # type: ignore[method-assign]
    os.fsync = then(os.fsync)
    writer.Writer.begin = then(writer.Writer.begin)  # type: ignore[method-assign]
    sysfs.has_written = _with_keywords(sysfs.has_written, do)


def _with_keywords(function, do):
    def wrapped(*args, **keywords):
        result = function(*args, **keywords)
        do()
        return result

    return wrapped


def at_moment(number: int, do: Callable[[], None]) -> Callable[[], None]:
    """Calls ``do`` the ``number``-th time that it is called."""
    count = 0

    def counted() -> None:
        nonlocal count
        count += 1
        if count == number:
            do()

    return counted


def killed() -> None:
    """The end, without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


def crashed() -> None:
    """The end of the machine, without a word."""
    Path("/proc/sysrq-trigger").write_text("c")


def forked(what: Callable[[], object]) -> int:
    """A fork of this process does it and ends."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            what()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    """How the fork ended, as waitpid tells: 0, or the signal."""
    end = os.pidfd_open(child)
    try:
        ended = select.select([end], [], [], DEADLINE)[0]
        assert ended, f"{process_state(child)} has not ended within {DEADLINE:g} s"
    finally:
        os.close(end)
    return os.waitpid(child, 0)[1]


def restored(before: dict[str, str | None]) -> int:
    """Restore, twice: nothing is left over after the first time; how many had to be put back."""
    state = State()
    try:
        with machine_locked(state, PATIENCE):
            outcomes = list(restore(state))
        assert [each for each in outcomes if each.word != "restored"] == []
        assert machine() == before
        with machine_locked(state, PATIENCE):
            assert list(restore(state)) == []
        assert state.names(journals.ENDING) == []
    finally:
        state.close()
    return len(outcomes)


def load_modules() -> None:
    for name in MODULES:
        modules.load(name)
    # Virtual functions have no queues before they are given some: no driver is to wait for that.
    for each in controllers_with_virtual_functions():
        sysfs.write(each.path / "sriov_drivers_autoprobe", "0")
