"""This file checks that an operation that meets a limit leaves nothing behind (P7).

What has no descriptor, no file, no locked memory, no address space, or no memory at all left says
so, if it needs any; the same operation succeeds when the limit is gone. No kernel option for the
injection of faults is needed.
"""

import os
from collections.abc import Callable

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

Record = Callable[[str, object], None]

each_limit = pytest.mark.parametrize(
    ("subject", "limit"),
    [
        pytest.param(kind, limit, id=f"{limit.name}-{kind}")
        for limit in LIMITS.values()
        for kind in limit.kinds
    ],
    indirect=["subject"],
)


@pytest.mark.promise("P7")
@each_limit
def test_whatever_meets_a_limit_succeeds_when_it_is_gone(
    subject: Subject, limit, record_property, pytestconfig
):
    """Each in the scene that suits it best."""
    drawn = operations_of(pytestconfig, subject.kind)
    try_each(limit, subject, [each for each in drawn if not in_kvm(each)], record_property)


@pytest.mark.promise("P7")
@each_limit
def test_whatever_meets_a_limit_beside_a_virtual_machine_succeeds_when_it_is_gone(
    kvm, subject: Subject, limit, record_property, pytestconfig
):
    drawn = operations_of(pytestconfig, subject.kind)
    try_each(limit, subject, [each for each in drawn if in_kvm(each)], record_property)


def in_kvm(operation: Operation) -> bool:
    return operation.scenes[0] in WITH_KVM


def try_each(limit: Limit, subject: Subject, drawn: list[Operation], record: Record) -> None:
    """Among them what is known to meet it, and does."""
    if limit.of_the_machine and not os.environ.get(IN_GUEST):
        raise Unsupported(f"{limit.name} is a limit of the whole machine, and of a guest's only")
    met = []
    with limit.around() as way, Racer() as racer:
        hindrance = limit.by(way)
        for operation in dict.fromkeys([operation_named(limit.met_by), *drawn]):
            restored(subject)
            scene = operation.scenes[0]
            each = tried(racer, operation, scene, world_of(subject), hindrance)
            wrong = each.complaint(operation, subject.kind, scene, limit.answers)
            assert not wrong, f"{operation.name}: {wrong}\n{each.describe()}"
            if not limit.answers.isdisjoint(each.outcome.split("+")):
                met.append(operation.name)
    record("met", met)
    assert limit.met_by in met, "nothing was limited"
