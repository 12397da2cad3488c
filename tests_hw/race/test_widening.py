"""This file checks that what is to make a window wider does: a race that it does not is none."""

from statistics import median

import pytest

from vfio_hw.race.breakpoint import held_up
from vfio_hw.race.catalogue.pairs import operation_named
from vfio_hw.race.catalogue.play import alone_of
from vfio_hw.race.catalogue.removal import restored
from vfio_hw.race.catalogue.subject import Subject
from vfio_hw.race.racer import Racer

FUNCTION = "vfio_device_fops_unl_ioctl"
ROUNDS = 9


@pytest.mark.promise("P1")
@pytest.mark.parametrize("subject", ["mtty"], indirect=True)
def test_a_function_that_is_held_up_takes_longer(subject: Subject, record_property):
    """Each round enters it once; some before the breakpoints are set, and as many with them."""
    operation = operation_named("VFIO_DEVICE_GET_INFO")

    def durations() -> list[int]:
        found = []
        with Racer() as racer:
            for _ in range(ROUNDS):
                restored(subject)
                scene = alone_of(operation, operation.scenes[0], subject)
                played = racer.round(scene.prologue, scene.actors, scene.epilogue)
                [asked] = [call for call in played.actors[0] if call.step.decisive]
                found.append(asked.end_ns - asked.start_ns)
        return found

    before = durations()
    with held_up([FUNCTION]) as counted:
        during = durations()
        hits = counted.hits
    record_property("before_ns", median(before))
    record_property("during_ns", median(during))
    assert hits >= ROUNDS
    assert median(during) > 2 * median(before)
