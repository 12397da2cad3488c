"""This file checks that each operation of the catalogue succeeds when nobody disturbs it (P8).

A pair whose operation could not even do that by itself would judge nothing.
"""

import pytest

from vfio_hw.fixtures.selection import operations_of
from vfio_hw.race.catalogue.entry import KINDS, Operation
from vfio_hw.race.catalogue.play import alone_of
from vfio_hw.race.catalogue.removal import restored
from vfio_hw.race.catalogue.scenes import WITH_KVM
from vfio_hw.race.catalogue.subject import Subject
from vfio_hw.race.racer import Racer


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize(
        ("subject", "operation"),
        [
            pytest.param(kind, each, id=f"{each.name}-{kind}")
            for kind in KINDS
            for each in operations_of(metafunc.config, kind)
        ],
        indirect=["subject"],
    )


@pytest.mark.promise("P8")
def test_an_operation_that_nobody_disturbs_succeeds_each_time(
    subject: Subject, operation: Operation, request
):
    """Twice in each scene: what it leaves behind would be in its own way."""
    with Racer() as racer:
        for scene in operation.scenes:
            if scene in WITH_KVM:
                request.getfixturevalue("kvm")
            legal = operation.outcomes(subject.kind, scene, frozenset())
            for _ in range(2):
                restored(subject)
                prepared = alone_of(operation, scene, subject)
                played = racer.round(prepared.prologue, prepared.actors, prepared.epilogue)
                assert played.outcome[0] in legal, f"in the scene {scene}\n{played.describe()}"
                assert not played.left_open
