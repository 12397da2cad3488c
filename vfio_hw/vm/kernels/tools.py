"""Runs the programs that fetch and build kernels, and says in a sentence why one failed."""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vfio_hw import cache
from vfio_hw.errors import HarnessError

_KEPT = ("PATH", "HOME", "TMPDIR", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY")
_FULL = re.compile(r"No space left on device|enough free space|Disk quota exceeded")
_GRACE = 5.0  # seconds between asking a group of processes to end and killing it
_FAREWELL = 30.0  # the same for one whose members have groups of their own to end


def environment() -> dict[str, str]:
    """The environment of every tool: messages in English, and nothing that steers make.

    ARCH, KBUILD_OUTPUT, MAKEFLAGS, KCFLAGS and their like would build some other kernel under
    the same name. The sbin directories are searched because depmod is there, also for users.
    """
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    path = f"{kept.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return kept | {"PATH": path, "LC_ALL": "C"}


def require(tools: Iterable[tuple[str, str]], what: str) -> None:
    """See that every tool is installed; each comes with the package that has it.

    :raises HarnessError: names all that are missing.
    """
    path = environment()["PATH"]
    missing = [(tool, package) for tool, package in tools if not shutil.which(tool, path=path)]
    if missing:
        names = ", ".join(tool for tool, _ in missing)
        packages = " ".join(sorted({package for _, package in missing}))
        raise HarnessError(f"{what} needs {names}, not installed here: apt-get install {packages}")


def run(
    command: Sequence[str | Path], doing: str, *, timeout: float, into: Path | None = None
) -> str:
    """What the command prints on its standard output.

    :param doing: what the command is run for, begins the error message.
    :param timeout: seconds.
    :param into: the directory that the command fills, for the message when the disk is full.
    :raises HarnessError: it is not installed, fails, or does not end in time.
    """
    arguments = [str(word) for word in command]
    try:
        done = subprocess.run(
            arguments,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
        )
    except FileNotFoundError as error:
        raise HarnessError(f"{doing}: {arguments[0]} is not installed here") from error
    except subprocess.TimeoutExpired as error:
        raise HarnessError(f"{doing}: {arguments[0]} did not end in {timeout:g} s") from error
    if done.returncode:
        raise failure(doing, arguments[0], done.returncode, done.stderr or done.stdout, into)
    return done.stdout


def watch(
    command: Sequence[str | Path],
    doing: str,
    *,
    timeout: float,
    log: Path,
    into: Path,
    glance: Callable[[], None],
) -> None:
    """Run a long command in ``into``, its output in ``log``, and call ``glance`` now and then.

    Whatever ends this early, Ctrl-C too, ends all of the command's processes with it.

    :param timeout: seconds.
    :raises HarnessError: it fails or does not end in time; names the log.
    """
    arguments = [str(word) for word in command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=into,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            close_fds=False,  # so that a lock of the cache is held for as long as these run
        )
        try:
            _until_ended(process, doing, timeout, glance)
        finally:
            _end_group(process)
    if process.returncode:
        said = log.read_text(errors="replace")
        error = failure(doing, arguments[0], process.returncode, said, into)
        raise type(error)(f"{error} (all of it: {log})")


def alone(command: Sequence[str | Path]) -> int:
    """Run a command that runs others of ours, and return its status.

    Whatever ends this early, a signal to this process alone too, ends all of them before it goes
    on. Locks of the cache stay held until the last has ended, even when this process is killed.
    """
    ended, alive = os.pipe()
    with os.fdopen(ended, "rb"):
        with os.fdopen(alive, "wb"):
            os.set_inheritable(alive, True)
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                close_fds=False,
            )
        try:
            return process.wait()
        except BaseException:
            _end_all(process, ended)
            raise


def _end_all(process: subprocess.Popen[bytes], ended: int) -> None:
    """End a group of processes: that the last has gone is told by the pipe that all have open."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        if select.select([ended], [], [], _FAREWELL)[0]:
            break
    process.wait()


def _until_ended(
    process: subprocess.Popen[bytes], doing: str, timeout: float, glance: Callable[[], None]
) -> None:
    end = time.monotonic() + timeout
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
            return
        if time.monotonic() >= end:
            raise HarnessError(f"{doing}: not done in {timeout:g} s")
        glance()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    for number, patience in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, None)):
        os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return


def failure(
    doing: str, tool: str, status: int, output: str, into: Path | None = None
) -> HarnessError:
    """The error for a tool that failed: a full disk, or the line in which it says why."""
    if full := next(filter(names_full_disk, output.splitlines()), None):
        # Tools also write elsewhere (gcc to /tmp), so their own line is worth having.
        return cache.DiskFull(f"{cache.disk_full(into or cache.directory())} ({full.strip()})")
    return HarnessError(f"{doing}: {tool} failed with status {status}: {complaint(output)}")


def names_full_disk(output: str) -> bool:
    """Whether a tool's output says that a disk is full."""
    return _FULL.search(output) is not None


def complaint(output: str) -> str:
    """The line of a tool's output that names the cause: the first error, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in (r"\berror:|undefined reference", r"^E: |\*\*\*", r"^W: "):
        for line in lines:
            if re.search(pattern, line):
                return line
    return lines[-1] if lines else "it said nothing"
