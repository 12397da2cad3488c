"""This file checks that what meets a limit meets it where there is no virtualization, too."""

from types import SimpleNamespace

import pytest

from tests_hw.fault import test_limits as limits
from vfio_hw.race.catalogue.limits import LIMITS
from vfio_hw.race.catalogue.pairs import OPERATIONS
from vfio_hw.race.catalogue.scenes import WITH_KVM


@pytest.mark.parametrize(
    ("test", "given"),
    [
        (limits.test_whatever_meets_a_limit_succeeds_when_it_is_gone, {}),
        (
            limits.test_whatever_meets_a_limit_beside_a_virtual_machine_succeeds_when_it_is_gone,
            {"kvm": None},
        ),
    ],
)
def test_kvm_is_asked_for_by_a_test_of_its_own(subject, monkeypatch, test, given):
    done = []

    def tried(racer, operation, *_):
        done.append(operation)
        return SimpleNamespace(complaint=lambda *_: None, outcome="EMFILE")

    monkeypatch.setattr(limits, "tried", tried)
    monkeypatch.setattr(limits, "restored", lambda _: None)
    config = SimpleNamespace(args=[], option=SimpleNamespace(pairs="all"))
    recorded = {}
    test(
        subject=subject,
        limit=LIMITS["no_descriptor"],
        record_property=recorded.__setitem__,
        pytestconfig=config,
        **given,
    )
    first, *others = done
    assert first.name == LIMITS["no_descriptor"].met_by
    of_kind = [each for each in OPERATIONS if subject.kind in each.kinds and each != first]
    assert others == [each for each in of_kind if (each.scenes[0] in WITH_KVM) == bool(given)]
    assert recorded["met"] == [each.name for each in done]
