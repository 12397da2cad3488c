"""This file checks that the driver of a device is there until the last reference is put (P3).

A file of a character device is closed in two steps: its release lets a removal that waits go on,
then the reference to the character device, which is one to the device, is put. Whoever closes may
lose the processor in between, for as long as a scheduler likes.
"""

import contextlib
import os
import select
import subprocess
import sys

import pytest

from vfio_hw.host import modules
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.host.modules import deleting
from vfio_hw.vfio.cdev import Cdev

PROMPT = 30.0
WATCHED = 0.1
ROUNDS = 3

# On processor 0 all of these meet; each says when it is about to begin. The one who closes waits
# for a line, then lets everybody else go first, and closes when it has just used up its own share:
# it gets the processor back last then.
CLOSE = """
import os, sys, time
print(flush=True)
sys.stdin.readline()
os.sched_setaffinity(0, {0})
os.nice(19)
now = time.monotonic()
while True:
    last, now = now, time.monotonic()
    if now - last > 0.02:
        break
used = time.thread_time() + 0.003
while time.thread_time() < used:
    pass
os.close(int(sys.argv[1]))
"""
OCCUPY = """
import os
os.sched_setaffinity(0, {0})
print(flush=True)
while True: pass
"""


@contextlib.contextmanager
def running(program: str, *arguments: str, keep: tuple[int, ...] = ()):
    """A Python of its own runs this inside, with these descriptors of ours; killed after."""
    command = [sys.executable, "-I", "-S", "-c", program, *arguments]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, pass_fds=keep, stdin=pipe, stdout=pipe, bufsize=0)
    try:
        assert select.select([child.stdout], [], [], PROMPT)[0], "a child did not begin"
        yield child
    finally:
        child.kill()
        child.wait(PROMPT)
        child.stdin.close()
        child.stdout.close()


@pytest.mark.promise("P3")
def test_a_parent_is_there_until_the_close_that_lets_it_go_is_over(own_modules):
    """The unloading goes before everything on its processor, the close after everything."""
    for _ in range(ROUNDS):
        modules.load("mtty")
        with created(type_by_id("mtty-1")) as mdev, Cdev(mdev.path) as cdev:
            number = cdev.fileno()
            with running(CLOSE, str(number), keep=(number,)) as closing:
                cdev.close()
                with deleting("mtty") as deletion:
                    assert deletion.wait(WATCHED) is None, "the parent of an open device went"
                    os.sched_setaffinity(deletion.pid, {0})
                    os.sched_setscheduler(deletion.pid, os.SCHED_FIFO, os.sched_param(50))
                    with running(OCCUPY):
                        closing.stdin.write(b"\n")
                        assert deletion.must_answer(PROMPT) == 0
                assert closing.wait(PROMPT) == 0
