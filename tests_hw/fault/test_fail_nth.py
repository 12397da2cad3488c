"""This file checks that an operation in which something fails leaves nothing behind (P7).

In each operation of the catalogue the first allocation, or copy from or to user space, is made to
fail, then the second, and so on, until none is left that could. Each time the errno says what
happened, the same operation succeeds when it is repeated, and everything can be closed. After all,
the removal of the device returns; the oracles look for what was lost.
"""

import pytest

from vfio_hw.fixtures.selection import sweeps_of
from vfio_hw.race.catalogue.entry import Operation
from vfio_hw.race.catalogue.faulty import FAULTS, Nth, tried
from vfio_hw.race.catalogue.removal import restored
from vfio_hw.race.catalogue.scenes import WITH_KVM
from vfio_hw.race.catalogue.subject import Subject, world_of
from vfio_hw.race.racer import Racer

#: More than any operation makes.
MOST = 1000
NONE: frozenset[str] = frozenset()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize(
        ("subject", "operation"),
        [
            pytest.param(kind, each, id=f"{each.name}-{kind}")
            for kind, each in sweeps_of(metafunc.config)
        ],
        indirect=["subject"],
    )


@pytest.mark.promise("P7")
def test_whatever_fails_in_an_operation_it_succeeds_when_repeated(
    injection, subject: Subject, operation: Operation, request, record_property
):
    scene = operation.scenes[0]
    if scene in WITH_KVM:
        request.getfixturevalue("kvm")
    fired = []
    with Racer() as racer:
        for number in range(1, MOST):
            restored(subject)
            world = world_of(subject)
            nth = Nth(world, number)
            each = tried(racer, operation, scene, world, nth)
            reached = nth.fired(each.played)
            wrong = each.complaint(operation, subject.kind, scene, FAULTS if reached else NONE)
            assert not wrong, f"number {number} was to fail: {wrong}\n{each.describe()}"
            if not reached:
                break
            fired.append(each.outcome)
    record_property("fired", fired)
    assert not reached, f"there was no end to what can fail within {MOST}"
