"""This file checks what is taken for a timer that an emulator has stopped."""

import os

from vfio_hw.host import timers
from vfio_hw.host.timers import STOPPED, late, stopped

LISTED = """Timer List Version: v0.10
HRTIMER_MAX_CLOCK_BASES: 8
now at 90000000000 nsecs

cpu: 0
 clock 0:
  .base:               00000000
active timers:
  .expires_next   : 90004000000 nsecs
  .hres_active    : 1

cpu: 1
 clock 0:
active timers:
  .expires_next   : 75500000000 nsecs
  .hres_active    : 1

Tick Device: mode:     1
 next_event:     75500000000 nsecs
"""


def asked(question):
    return LISTED if question == timers.TIMERS.read_text else question()


def test_a_timer_is_late_when_its_time_was_seconds_ago():
    assert late(LISTED) == {1: 14.5}
    assert late(LISTED.replace("75500000000", "88000000000")) == {}
    assert late("(did not answer within 2 s)") == {}


def test_the_timer_of_a_processor_that_runs_has_stopped(monkeypatch):
    given = []
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: given.append(cpus))
    (line,) = stopped(asked)
    assert line == f"the timer of processor 1 {STOPPED}: it is 14 s late"
    assert given == [{1}]


def test_a_processor_that_runs_nothing_has_no_stopped_timer():
    silent = "(did not answer within 2 s)"
    assert stopped(lambda q: LISTED if q == timers.TIMERS.read_text else silent) == []


def test_a_list_that_was_read_here_is_not_read_by_another_process(monkeypatch, tmp_path):
    (tmp_path / "timer_list").write_text(LISTED)
    monkeypatch.setattr(timers, "TIMERS", tmp_path / "timer_list")
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: None)
    (line,) = timers.stopped_here()
    assert line.startswith(f"the timer of processor 1 {STOPPED}")
    monkeypatch.setattr(timers, "TIMERS", tmp_path / "none")
    assert timers.stopped_here() == []
