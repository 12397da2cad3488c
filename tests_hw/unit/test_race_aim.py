"""This file checks the rounds in which a pair's scene is measured: they are judged like others."""

import os
import signal
from collections.abc import Iterator

import pytest

from vfio_hw.errors import KernelSplat
from vfio_hw.race.calls import kill
from vfio_hw.race.catalogue.play import LATER_NS, aimed
from vfio_hw.race.failure import Failure
from vfio_hw.race.program import Slot, close, openat
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.spread import Scene


@pytest.fixture
def racer() -> Iterator[Racer]:
    with Racer(deadline=5.0) as racer:
        yield racer


def scene() -> Scene:
    null, missing = Slot("null"), Slot("missing")
    early = [openat("/dev/null", os.O_RDONLY, into=null, decisive=True), close(null)]
    late = [openat("/nonexistent", os.O_RDONLY, into=missing, delay_ns=5_000_000, decisive=True)]
    return Scene([], [Actor("early", early), Actor("late", late)])


def test_who_is_early_waits_for_who_is_late(racer: Racer) -> None:
    aim = aimed(racer, scene, seed=1, legal={("ok", "ENOENT")})
    early, late = aim.offsets_ns
    assert early > late == 0
    assert aim.seconds > 0 and aim.window_ns > 0


@pytest.mark.parametrize(
    ("legal", "judged"), [({("ok", "ok")}, None), ({("ok", "ENOENT")}, "it is wrong")]
)
def test_the_first_round_that_is_measured_can_fail(racer: Racer, legal, judged) -> None:
    told: list[Failure] = []
    with pytest.raises(KernelSplat, match=judged or "is not legal"):
        aimed(racer, scene, seed=1, legal=legal, judge=lambda _: judged, tell=told.append)
    assert [bool(each.complaint) for each in told] == [False, True]


def test_who_kills_the_other_is_kept_from_it_while_both_are_measured(racer: Racer) -> None:
    """The user takes 3 ms to its decisive call; who is at once killed is never seen to do that."""
    pid, null = Slot("the user", descriptor=False), Slot("null")
    program = [openat("/dev/null", os.O_RDONLY, into=null, delay_ns=3_000_000, decisive=True)]
    user = Actor("user", program, process=True, pid=pid)
    killer = Actor("killer", [kill(pid, signal.SIGKILL, decisive=True)])
    killed, late = ({("not run", "ok"), ("SIGKILL", "ok")}, {("ok", "ESRCH"), ("ok", "ok")})
    aim = aimed(racer, lambda: Scene([], [user, killer]), seed=1, legal=killed)
    assert aim.offsets_ns == (0, 0) or max(aim.offsets_ns) < 3_000_000
    aim = aimed(racer, lambda: Scene([], [user, killer]), seed=1, legal=late, later_ns=LATER_NS)
    assert aim.offsets_ns[0] == 0 and 2_900_000 < aim.offsets_ns[1] < LATER_NS
