"""Nothing is taken from a native driver that had it back before somebody began to use it."""

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence

from vfio_hw.errors import HarnessError
from vfio_hw.host import binding
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.process import of_family, tasks
from vfio_hw.host.safety import Safety


class InUse(HarnessError):
    """The machine stands on a function that was to be taken."""


def must_be_idle(function: PciFunction, forced: Collection[str] = ()) -> None:
    """The machine does not stand on the function now, nor on what has to go with it.

    What this process and its descendants have open of it is no hindrance.

    :param forced: addresses of functions that may be taken all the same.
    :raises InUse: it does; says every reason.
    """
    ours = {task.pid for task in of_family(os.getpid(), tasks())}
    refused = [each for each in Safety(ours=ours).refusals(function) if each.address not in forced]
    if refused:
        reasons = "; ".join(map(str, refused))
        raise InUse(f"{function} is left to {function.driver or 'no driver'}, as it is: {reasons}")


@contextlib.contextmanager
def guarded(forced: Sequence[str]) -> Iterator[list[PciFunction]]:
    """Each function is looked at anew right before it is taken from a native driver inside.

    The list gets those that were left to theirs.
    """
    addresses = frozenset(PciFunction.at(address).address for address in forced)
    left: list[PciFunction] = []

    def guard(function: PciFunction) -> None:
        try:
            must_be_idle(function, addresses)
        except InUse:
            left.append(function)
            raise

    binding.guards.append(guard)
    try:
        yield left
    finally:
        binding.guards.remove(guard)
