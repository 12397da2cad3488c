"""This file checks that an operation that meets a limit leaves nothing behind (P7).

What has no descriptor, no file, no locked memory, no address space, or no memory at all left says
so, if it needs any; the same operation succeeds when the limit is gone. No kernel option for the
injection of faults is needed.
"""

import os

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.selection import operations_of
from vfio_hw.plugin import IN_GUEST
from vfio_hw.race.catalogue.entry import Operation
from vfio_hw.race.catalogue.faulty import tried
from vfio_hw.race.catalogue.limits import LIMITS, Limit
from vfio_hw.race.catalogue.pairs import operation_named
from vfio_hw.race.catalogue.removal import restored
from vfio_hw.race.catalogue.scenes import WITH_KVM
from vfio_hw.race.catalogue.subject import Subject, world_of
from vfio_hw.race.racer import Racer


@pytest.mark.promise("P7")
@pytest.mark.parametrize(
    ("subject", "limit"),
    [
        pytest.param(kind, limit, id=f"{limit.name}-{kind}")
        for limit in LIMITS.values()
        for kind in limit.kinds
    ],
    indirect=["subject"],
)
def test_whatever_meets_a_limit_succeeds_when_it_is_gone(
    subject: Subject, limit, record_property, request, pytestconfig
):
    """Each in the scene that suits it best; those with a virtual machine last, which needs KVM."""
    if limit.of_the_machine and not os.environ.get(IN_GUEST):
        raise Unsupported(f"{limit.name} is a limit of the whole machine, and of a guest's only")
    met = []
    drawn = dict.fromkeys(
        [operation_named(limit.met_by), *operations_of(pytestconfig, subject.kind)]
    )
    in_kvm = [operation for operation in drawn if operation.scenes[0] in WITH_KVM]
    try_each(limit, subject, [each for each in drawn if each not in in_kvm], met)
    record_property("met", met)
    assert limit.met_by in met, "nothing was limited"
    if in_kvm:
        request.getfixturevalue("kvm")
        try_each(limit, subject, in_kvm, met)
        record_property("met", met)


def try_each(limit: Limit, subject: Subject, operations: list[Operation], met: list[str]) -> None:
    """Those that met the limit are added to ``met``."""
    with limit.around() as way, Racer() as racer:
        hindrance = limit.by(way)
        for operation in operations:
            restored(subject)
            scene = operation.scenes[0]
            each = tried(racer, operation, scene, world_of(subject), hindrance)
            wrong = each.complaint(operation, subject.kind, scene, limit.answers)
            assert not wrong, f"{operation.name}: {wrong}\n{each.describe()}"
            if not limit.answers.isdisjoint(each.outcome.split("+")):
                met.append(operation.name)
