"""pytest's side of a run on this machine: the lock, the journal, the note of the running test."""

import contextlib
import os
from collections.abc import Sequence

from vfio_hw.here import earlier, running
from vfio_hw.here.ending import ASKING, Ending
from vfio_hw.here.rights import must_suffice
from vfio_hw.here.taken import must_be_takeable, take_for_a_run
from vfio_hw.here.telling import tell
from vfio_hw.host import journal, lock
from vfio_hw.host.guard import guarded
from vfio_hw.host.journal import Journal
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.state import State
from vfio_hw.oracle import Finding

#: Tells pytest where the record of the run is, which a crash is attributed in.
RESULTS = "VFIO_HW_RESULTS"


def distrust(text: str) -> None:
    """The kernel has shown a fault, says one who outlives the session: no run gives it a test."""
    state = State()
    try:
        running.distrust(state, text)
    finally:
        state.close()


class Session:
    """From the first test to the last: nobody else changes the machine, and all is noted.

    The functions are VFIO's meanwhile, with their groups. Who has started us and has the machine's
    lock has seen to all of that; else it is done here.

    :param addresses: of the functions that the tests may drive.
    :param forced: those of them that may be taken although the machine stands on them.
    :param trusting: also a kernel that has shown a fault.
    :raises HarnessError: somebody else is at it, a function may not be taken, or the kernel is not
        to be trusted.
    """

    def __init__(
        self, addresses: Sequence[str], forced: Sequence[str] = (), *, trusting: bool
    ) -> None:
        named = [PciFunction.at(address) for address in addresses]
        must_suffice(named)
        with contextlib.ExitStack() as stack:
            self._state = State()
            stack.callback(self._state.close)
            if not trusting:
                running.must_be_trusted(self._state)
            started = lock.inherited(self._state) is not None
            stack.enter_context(machine_locked(self._state))
            # Tests have a use for the others.
            ending = stack.enter_context(Ending(ASKING))
            if not started:
                earlier.must_be_undone(self._state)
                must_be_takeable(named, forced)
            stack.callback(self._give_back, os.getppid() if started else None)
            heeded = stack.enter_context(contextlib.ExitStack())
            heeded.enter_context(ending.heeded())
            self._left = stack.enter_context(guarded(forced))
            if not started:
                take_for_a_run(self._state, named)
            kept = Journal.begun(self._state, "run")
            stack.callback(kept.close)
            stack.enter_context(journal.kept(kept))
            self._heeded, self._stack = heeded, stack.pop_all()

    def began(self, test: str) -> None:
        """A test is about to begin."""
        running.began(self._state, test, os.environ.get(RESULTS, ""))

    def distrust(self, text: str) -> None:
        """The kernel has shown a fault: no other run is to give it a test."""
        running.distrust(self._state, text)

    def close(self) -> None:
        """The last test is over, and has given back what it had taken."""
        self._heeded.close()
        running.over(self._state)
        self._stack.close()

    def judged(self, findings: Sequence[Finding]) -> list[Finding]:
        """Those of what the oracles found after a test that speak of the kernel.

        What went with a function that was left to its own driver is no leak.
        """
        left = bool(self._left)
        self._left.clear()
        return [each for each in findings if not (left and each.oracle == "leaks")]

    def _give_back(self, starter: int | None) -> None:
        """What was taken for the tests, and what they have left; unless who started us does it."""
        if starter is None or os.getppid() != starter:
            tell(earlier.undone(self._state))
