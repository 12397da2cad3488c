"""This file checks that an operation in which something fails leaves nothing behind (P7).

In each operation of the catalogue one allocation, or copy from or to user space, is made to fail,
then another, in an order that the seed draws, until each has or time is up. The errno says what
happened, the same operation succeeds when it is repeated, and everything can be closed. Then the
removal of the device returns: of a mediated one after each, for that is cheap, of others after all.
The oracles look for what was lost. How many there was no time for is recorded (``left``).
"""

import random
import time
from collections import Counter

import pytest

from vfio_hw.errors import KernelSplat
from vfio_hw.fixtures.selection import sweeps_of
from vfio_hw.race.catalogue.entry import KINDS, MEDIATED, Operation
from vfio_hw.race.catalogue.faulty import FAULTS, SPARED, Nth, tried
from vfio_hw.race.catalogue.mdev import removed
from vfio_hw.race.catalogue.pairs import operation_named
from vfio_hw.race.catalogue.removal import restored
from vfio_hw.race.catalogue.scenes import WITH_KVM
from vfio_hw.race.catalogue.subject import Subject, world_of
from vfio_hw.race.racer import Actor, Racer

#: More than can fail in any operation.
MOST = 100_000
#: What one operation gets.
SECONDS = 20.0
NONE: frozenset[str] = frozenset()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "operation" not in metafunc.fixturenames:
        return
    metafunc.parametrize(
        ("subject", "operation"),
        [
            pytest.param(kind, each, id=f"{each.name}-{kind}")
            for kind, each in sweeps_of(metafunc.config)
        ],
        indirect=["subject"],
    )


@pytest.mark.promise("P7")
@pytest.mark.parametrize("subject", KINDS, indirect=True)
def test_an_ioctl_whose_argument_can_not_be_copied_says_so(injection, subject: Subject):
    """What is counted, and made to fail, is this call's: else no sweep would show anything."""
    operation = operation_named("VFIO_DEVICE_GET_INFO")
    world = world_of(subject)
    first = Nth(world, 1)
    with Racer() as racer:
        each = tried(racer, operation, operation.scenes[0], world, first)
    assert (first.fired(each.played), each.outcome, each.again) == (True, "EFAULT", "ok")


@pytest.mark.promise("P7")
def test_whatever_fails_in_an_operation_it_succeeds_when_repeated(
    injection, subject: Subject, operation: Operation, request, record_property, pytestconfig
):
    scene = operation.scenes[0]
    if scene in WITH_KVM:
        request.getfixturevalue("kvm")
    draw = random.Random(pytestconfig.option.seed)
    end, outcomes, fired = time.monotonic() + SECONDS, Counter(), 0
    with Racer() as racer:

        def failed_in(number: int) -> Nth:
            nonlocal fired
            restored(subject)
            world = world_of(subject)
            nth = Nth(world, number)
            each = tried(racer, operation, scene, world, nth)
            answers = FAULTS if nth.fired(each.played) else NONE
            wrong = each.complaint(operation, subject.kind, scene, answers)
            assert not wrong, f"number {number} was to fail: {wrong}\n{each.describe()}"
            outcomes[each.outcome] += 1
            fired += nth.fired(each.played)
            if subject.kind in MEDIATED:
                remove(racer, subject, number)
            return nth

        total = MOST - failed_in(MOST).left()
        numbers = draw.sample(range(1, total + 1), total)
        try:
            while numbers and time.monotonic() < end:
                failed_in(numbers.pop())
        finally:
            record_property("can_fail", total)
            record_property("failed", total - len(numbers))
            record_property("left", len(numbers))
            record_property("fired", fired)
            record_property("outcomes", dict(outcomes))
    assert fired or operation.name in SPARED, (
        f"it copies or allocates, and nothing failed: of {total} that can, {len(numbers)} were left"
        f" untried after {SECONDS:g} s"
    )


def remove(racer: Racer, subject: Subject, number: int) -> None:
    """Removes the device, in which something failed before.

    :raises KernelSplat: that does not return; says after which.
    """
    removal = Actor("mdev_remove", removed(world_of(subject)))
    try:
        played = racer.round([], [removal])
    except KernelSplat as hang:
        raise KernelSplat(f"number {number} had failed: {hang}", oracle=hang.oracle) from None
    finally:
        restored(subject)
    assert played.outcome == ("ok+ok",), f"number {number} had failed\n{played.describe()}"
