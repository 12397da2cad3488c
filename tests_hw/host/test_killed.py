"""This file kills runs at every moment that counts, and at random ones: nothing is left over.

At every fifth moment and 20 times in all, or with VFIO_HW_KILLS=100 at every one and 100 times.
"""

import os
import random
import time
from functools import partial

from vfio_hw.host import writer
from vfio_hw.host.lock import machine_locked
from vfio_hw.host.restore import restore
from vfio_hw.host.state import State

KILLS = int(os.environ.get("VFIO_HW_KILLS", "20"))
STRIDE = 1 if KILLS >= 100 else 5
_KILLED = 9


def _lives(life, end=lambda: None) -> None:
    """A life that ends at a moment of its own."""
    life.every_moment(end)
    life.life(State())


def test_a_run_killed_at_any_moment_leaves_nothing_behind(life, state):
    writer.ready()
    before, ends, put_back = life.machine(), [], 0
    began = time.monotonic()
    assert life.ended(life.forked(partial(_lives, life))) == 0
    seconds = time.monotonic() - began
    assert life.restored(before) == 0
    while not ends or ends[-1] == _KILLED:
        moment = 1 + len(ends) * STRIDE
        end = life.at_moment(moment, life.killed)
        ends.append(life.ended(life.forked(partial(_lives, life, end))))
        put_back += life.restored(before) > 0
    # Every change is noted, synced, asked for and told of, there and back.
    assert ends[-1] == 0 and len(ends) * STRIDE > 60 and put_back > len(ends) / 2
    chance = random.Random(1)
    for _ in range(max(0, KILLS - len(ends))):
        child = life.forked(partial(_lives, life))
        time.sleep(chance.uniform(0.0, seconds))
        os.kill(child, _KILLED)
        life.ended(child)
        life.restored(before)


def test_a_restore_killed_at_any_moment_can_be_repeated(life, state):
    before, ends = life.machine(), []

    def restores(end) -> None:
        life.every_moment(end)
        with machine_locked(State(), life.PATIENCE):
            list(restore(State()))

    while not ends or ends[-1] == _KILLED:
        half = life.at_moment(45, life.killed)
        assert life.ended(life.forked(partial(_lives, life, half))) == _KILLED
        end = life.at_moment(1 + len(ends) * STRIDE, life.killed)
        ends.append(life.ended(life.forked(partial(restores, end))))
        life.restored(before)
    assert ends[-1] == 0 and len(ends) * STRIDE > 10
