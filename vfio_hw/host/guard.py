"""Nothing is taken from a native driver that had it back before somebody began to use it."""

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence

from vfio_hw.errors import HarnessError
from vfio_hw.host import binding
from vfio_hw.host.pci import PciFunction, is_vfio
from vfio_hw.host.process import of_family, tasks
from vfio_hw.host.safety import Safety


class InUse(HarnessError):
    """The machine stands on a function that was to be taken."""


def must_be_idle(
    function: PciFunction, forced: Collection[str] = (), *, claim: bool = True
) -> None:
    """The machine does not stand on the function now, nor on what has to go with it.

    What this process and its descendants have open of it is no hindrance.

    :param forced: addresses of functions that may be taken all the same.
    :param claim: as Safety's.
    :raises InUse: it does; says every reason.
    """
    ours = {task.pid for task in of_family(os.getpid(), tasks())}
    reasons = Safety(ours=ours, claim=claim).refusals(function)
    refused = [each for each in reasons if each.address not in forced]
    if refused:
        why = "; ".join(map(str, refused))
        raise InUse(f"{function} is left to {function.driver or 'no driver'}, as it is: {why}")


def must_have_idle_ones(address: str, *, claim: bool = True) -> None:
    """So are all virtual functions of this one that VFIO has not.

    :raises InUse: somebody has begun to use one of them.
    """
    for virtual in PciFunction.at(address).virtual_functions():
        if not is_vfio(virtual.driver or ""):
            must_be_idle(virtual, claim=claim)


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
