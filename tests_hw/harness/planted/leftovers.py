"""Each test here leaves a process, a thread, a file or memory that an oracle must see (P9)."""

import ctypes
import mmap
import os
import signal
import threading
from pathlib import Path

import pytest

from vfio_hw.oracle.look import machine
from vfio_hw.vfio.dma import PAGE


def test_locked_memory(caught, leaks):
    libc = ctypes.CDLL(None)

    def plant():
        memory = mmap.mmap(-1, PAGE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(PAGE)) == 0

        def undo():
            assert memory, "it must live until here"
            libc.munlock(ctypes.c_void_p(address), ctypes.c_size_t(PAGE))

        return undo

    assert caught(leaks, plant) == [f"own VmLck (kB): 0 -> {PAGE // 1024}"]


def test_a_thread(caught, leaks):
    def plant():
        done = threading.Event()
        thread = threading.Thread(target=done.wait)
        thread.start()

        def undo():
            done.set()
            thread.join()

        return undo

    assert caught(leaks, plant) == ["own threads: 1 -> 2"]


def test_a_process_that_is_not_our_child_any_more(caught, leaks):
    def plant():
        reader, writer = os.pipe()
        first = os.fork()
        if first == 0:
            pid = os.fork()
            if pid:
                os.write(writer, str(pid).encode())
                os._exit(0)
            signal.pause()
        os.waitpid(first, 0)
        orphan = int(os.read(reader, 16))
        os.close(reader)
        os.close(writer)
        return lambda: os.kill(orphan, signal.SIGKILL)

    (title,) = caught(leaks, plant)
    assert title.startswith("processes ")


def test_a_file_that_somebody_else_holds(caught, leaks, stopped_child):
    """The child is left out, as the oracle for hangs tells of it; what it holds is not."""

    def plant():
        descriptor = os.open("/dev/zero", os.O_RDONLY)
        pid = stopped_child()
        os.close(descriptor)

        def undo():
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        return undo

    (title,) = caught(leaks, plant)
    assert title.startswith("open files: ")


def test_an_eventfd_that_somebody_else_holds(caught, leaks, stopped_child):
    def plant():
        first, second = os.eventfd(0), os.eventfd(0)
        os.close(first)
        pid = stopped_child()
        os.close(second)

        def undo():
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        return undo

    titles = caught(leaks, plant)
    assert "eventfd contexts: 0 -> 1" in titles


def test_a_process_in_a_wait_that_no_signal_ends(stopped_child, tmp_path):
    """A parent in vfork waits so until its child has become another program."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    name = Path("/proc/self/comm").read_text().strip()
    action = [(os.POSIX_SPAWN_OPEN, 9, str(fifo), os.O_RDONLY, 0)]
    stopped_child(lambda: os.posix_spawn("/bin/true", ["true"], {}, file_actions=action))
    end = threading.Event()
    for _ in range(100):
        found = machine.processes("", {os.getpid()})
        if found[f"processes {name} blocked in state D"]:
            break
        end.wait(0.05)
    else:
        pytest.fail(f"no blocked process seen: {found}")
    os.close(os.open(fifo, os.O_WRONLY))
