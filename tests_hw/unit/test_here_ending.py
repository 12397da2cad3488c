"""This file checks which signals end a run, and that the others disturb nothing."""

import os
import signal

import pytest

from vfio_hw.here.ending import ANY, ASKING, Ending


@pytest.fixture(autouse=True)
def no_nohup():
    """The tests may be run by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def ends_a_process(number: int) -> bool:
    """One that does nothing about it; one that is stopped goes on, and ends as it would."""
    child = os.fork()
    if child == 0:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(0)
    status = os.waitpid(child, os.WUNTRACED)[1]
    if os.WIFSTOPPED(status):
        os.kill(child, signal.SIGCONT)
        status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status)


CAUGHT = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def test_all_that_end_a_process_are_heard_but_those_of_its_own_faults():
    assert ASKING < ANY
    ending = {number for number in CAUGHT if ends_a_process(number)}
    assert ending > ANY
    of_python = {number for number in ending if signal.getsignal(number) == signal.SIG_IGN}
    own = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGABRT", "SIGSYS"}
    assert {signal.Signals(each).name for each in ending - ANY - of_python} == own


@pytest.mark.parametrize("number", sorted(ANY))
def test_the_first_signal_ends_and_the_next_are_told(number, capfd):
    before = signal.getsignal(number)
    with Ending() as ending:
        with pytest.raises(KeyboardInterrupt), ending.heeded():
            os.kill(os.getpid(), number)
        assert capfd.readouterr().err == ""
        for each in ANY:
            os.kill(os.getpid(), each)
            assert capfd.readouterr().err.count("restoring; ") == 1
        with pytest.raises(KeyboardInterrupt), ending.heeded():
            pass
    assert signal.getsignal(number) is before


def test_nohup_is_heeded():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Ending() as ending, ending.heeded():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize("how", [signal.SIG_IGN, lambda *_: None])
def test_what_would_end_nothing_ends_nothing(how):
    """As a batch job that shields itself ignores it, or catches it."""
    before = signal.signal(signal.SIGUSR1, how)
    try:
        with Ending() as ending, ending.heeded():
            os.kill(os.getpid(), signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is how
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_one_that_comes_when_none_is_heeded_ends_what_follows(capfd):
    with Ending() as ending:
        os.kill(os.getpid(), signal.SIGTERM)
        assert "restoring; " in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt), ending.heeded():
            raise AssertionError("it began all the same")


def test_a_fork_ends_at_each():
    with Ending() as ending, ending.heeded():
        child = os.fork()
        if child == 0:
            status = 0
            for number in (signal.SIGTERM, signal.SIGTERM):
                try:
                    os.kill(os.getpid(), number)
                    status = 1
                except KeyboardInterrupt:
                    continue
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
