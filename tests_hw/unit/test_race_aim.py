"""This file checks the rounds in which a pair's scene is measured: they are judged like others."""

import os
import signal
from collections.abc import Iterator

import pytest

from vfio_hw.errors import KernelSplat
from vfio_hw.race.calls import kill
from vfio_hw.race.catalogue.play import LATER_NS, aimed
from vfio_hw.race.failure import Failure
from vfio_hw.race.program import Slot, close, openat, sleep_ns
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.race.spread import Scene

_TRIES = 20


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


@pytest.mark.parametrize(("to_close", "most_ns"), [(False, 1 << 40), (True, 9_000_000)])
def test_a_close_of_the_device_may_be_left_out(racer: Racer, to_close, most_ns) -> None:
    """It takes 10 ms longer than all before it, and would make the window as wide."""

    def scene() -> Scene:
        device, other = Slot("device of the second user"), Slot("other")
        opened = openat("/dev/null", os.O_RDONLY, into=device, decisive=True)
        user = [opened, close(device, delay_ns=1_000_000), sleep_ns(10_000_000)]
        taker = [openat("/dev/null", os.O_RDONLY, into=other, decisive=True), close(other)]
        return Scene([], [Actor("user", user), Actor("taker", taker)])

    aim = aimed(racer, scene, seed=1, legal={("ok", "ok")}, to_close=to_close)
    assert (1_000_000 if to_close else 10_000_000) <= aim.window_ns < most_ns


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

    def scene() -> Scene:
        return Scene([], [user, killer])

    killed, late = ({("not run", "ok"), ("SIGKILL", "ok")}, {("ok", "ESRCH"), ("ok", "ok")})

    def comes_to(wanted, legal, later_ns=0) -> None:
        """In one try of many: who is woken late on a busy machine does what is not legal here."""
        seen: list[object] = []
        while len(seen) < _TRIES:
            try:
                aim = aimed(racer, scene, seed=1, legal=legal, later_ns=later_ns)
            except KernelSplat as late:
                seen.append(late)
                continue
            if wanted(*aim.offsets_ns):
                return
            seen.append(aim.offsets_ns)
        pytest.fail(f"of {_TRIES} tries none came to it: {seen}")

    comes_to(lambda of_user, of_killer: max(of_user, of_killer) < 3_000_000, killed)
    comes_to(
        lambda of_user, of_killer: of_user == 0 and 2_900_000 < of_killer < LATER_NS, late, LATER_NS
    )
