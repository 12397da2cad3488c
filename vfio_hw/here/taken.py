"""The functions of a run, with their groups: VFIO's from its start to its end."""

import os
from collections.abc import Sequence

from vfio_hw.errors import HarnessError
from vfio_hw.here.binding import check_forced
from vfio_hw.here.known import must_be_known
from vfio_hw.here.rights import must_suffice
from vfio_hw.host import modules
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.safety import Safety
from vfio_hw.host.state import State
from vfio_hw.host.taking import take, with_their_groups

_DEADLINE = 20.0  # seconds for each function


def must_be_takeable(functions: Sequence[PciFunction], forced: Sequence[str]) -> None:
    """This user may take them, or has been given them, and the machine does not stand on them.

    :param forced: the addresses of those that may be taken all the same.
    :raises HarnessError: not so; says every reason.
    """
    must_be_known(functions)
    safety = Safety()
    refused = list(dict.fromkeys(each for one in functions for each in safety.refusals(one)))
    check_forced(refused, [PciFunction.at(address).address for address in forced])
    for function in functions:
        if function.iommu_group is None:
            raise HarnessError(
                f"{function} has no IOMMU group, so VFIO can not have it: vfio-hw doctor --here"
            )
    must_suffice(functions)


def take_for_a_run(state: State, functions: Sequence[PciFunction]) -> None:
    """Bind them, with their groups, to vfio-pci, until what runs have changed is undone.

    An ordinary user was given them by root, and takes nothing. The machine's lock is held by the
    caller.

    :raises HarnessError: one could not be bound; those before it are given back.
    """
    if os.geteuid() == 0 and functions:
        modules.load("vfio-pci")
        take(state, with_their_groups(functions), "vfio-pci", _DEADLINE, purpose="run")
