"""Asks a kernel that may hang: every question has a deadline, and one that hangs costs one answer.

A read of /proc can wait for a lock that the task it asks about holds. So questions are put by a
process of their own, which is left behind when it gets no answer.
"""

import contextlib
import os
import select
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

Question = Callable[[], str]

_LENGTH = struct.Struct("=I")
_CHUNK = 65536
_GOING = 0.5  # seconds for a child that was killed, unless the kernel holds it


def answers(questions: Sequence[Question], *, patience: float, end: float) -> list[str]:
    """The answer to each question, in words in brackets where there is none.

    :param patience: seconds for each of them.
    :param end: the time (CLOCK_MONOTONIC) from which on nothing more is asked.
    """
    given: list[str] = []
    while len(given) < len(questions):
        if time.monotonic() >= end:
            return given + ["(not asked, as other answers took too long)"] * (
                len(questions) - len(given)
            )
        given += _until_silence(questions[len(given) :], patience)
        if len(given) < len(questions):
            given.append(f"(did not answer within {patience:g} s)")
    return given


def _until_silence(questions: Sequence[Question], patience: float) -> list[str]:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _ask(questions, writer)
    os.close(writer)
    try:
        return list(_frames(reader, patience))
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        _collect(child)


def _collect(child: int) -> None:
    """One that waits for its answer may not go: it is collected with us."""
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        end = os.pidfd_open(child)
        try:
            select.select([end], [], [], _GOING)
        finally:
            os.close(end)
        os.waitpid(child, os.WNOHANG)


def _ask(questions: Sequence[Question], writer: int) -> NoReturn:
    try:
        for question in questions:
            try:
                data = question().encode(errors="replace")
            except OSError as error:
                data = f"({error.strerror})".encode()
            data = _LENGTH.pack(len(data)) + data
            while data:
                data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


def _frames(reader: int, patience: float) -> Iterator[str]:
    """The answers as they come, until there are no more or ``patience`` seconds pass without."""
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    pending = b""
    while poll.poll(patience * 1000):
        data = os.read(reader, _CHUNK)
        if not data:
            return
        pending += data
        while len(pending) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(pending)[0]
            if len(pending) < end:
                break
            yield pending[_LENGTH.size : end].decode(errors="replace")
            pending = pending[end:]
