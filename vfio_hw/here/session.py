"""pytest's side of a run on this machine: the lock, the journal, the note of the running test."""

import contextlib
import os
from collections.abc import Sequence

from vfio_hw.errors import HarnessError
from vfio_hw.here import running
from vfio_hw.here.rights import must_suffice
from vfio_hw.host import journal, lock
from vfio_hw.host.journal import Journal
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.safety import Safety
from vfio_hw.host.state import State

#: Tells pytest where the record of the run is, which a crash is attributed in.
RESULTS = "VFIO_HW_RESULTS"


def may_run(addresses: Sequence[str], *, alone: bool) -> None:
    """The tests may drive these functions, as this user, on this machine.

    :param alone: the machine is a guest of ours, and all of it to be taken.
    :raises HarnessError: they may not.
    """
    named = [PciFunction.at(address) for address in addresses]
    must_suffice(named)
    if alone or lock.VARIABLE in os.environ:  # whoever has started us has looked already
        return
    safety = Safety()
    refused = [each for function in named for each in safety.refusals(function)]
    if refused:
        reasons = "\n".join(f"  {each}" for each in refused)
        raise HarnessError(
            f"the machine stands on what was asked for:\n{reasons}\nif all of that may be lost, use"
            " vfio-hw run --here, with --force"
        )


def distrust(text: str) -> None:
    """The kernel has shown a fault, says one who outlives the session: no run gives it a test."""
    state = State()
    try:
        running.distrust(state, text)
    finally:
        state.close()


class Session:
    """From the first test to the last: nobody else changes the machine, and all is noted.

    :param trusting: also a kernel that has shown a fault.
    :raises HarnessError: somebody else is at it, or the kernel is not to be trusted.
    """

    def __init__(self, *, trusting: bool) -> None:
        self._stack = contextlib.ExitStack()
        self._state = State()
        self._stack.callback(self._state.close)
        if not trusting:
            running.must_be_trusted(self._state)
        self._stack.enter_context(machine_locked(self._state))
        kept = Journal.begun(self._state, "run")
        self._stack.callback(kept.close)
        self._stack.enter_context(journal.kept(kept))

    def began(self, test: str) -> None:
        """A test is about to begin."""
        running.began(self._state, test, os.environ.get(RESULTS, ""))

    def distrust(self, text: str) -> None:
        """The kernel has shown a fault: no other run is to give it a test."""
        running.distrust(self._state, text)

    def close(self) -> None:
        """The last test is over, and has given back what it had taken."""
        running.over(self._state)
        self._stack.close()
