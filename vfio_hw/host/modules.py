"""Kernel modules: loaded or not, how many references, loading and unloading."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError, KernelSplat, Unsupported
from vfio_hw.host.process import process_state
from vfio_hw.host.sysfs import attribute, names_in

MODULES = Path("/sys/module")
#: What our own first process sets in a guest: everything there is the harness's to take, and what
#: its kernel has is loaded.
IN_GUEST = "VFIO_HW_GUEST"
_LOADABLE = Path("/proc/modules")
_SBIN = ":/usr/sbin:/sbin"

# Ends with the errno as its status. O_NONBLOCK: a module in use is refused, not waited for.
_DELETE = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(ctypes.get_errno() if libc.delete_module(sys.argv[1].encode(), os.O_NONBLOCK) else 0)
"""


class Deletion:
    """One call of delete_module(2), made by a child process that holds nothing of ours open.

    The module's exit function runs in that call, and waits there for whoever uses its devices.

    :raises Unsupported: without the rights of root.
    """

    def __init__(self, name: str) -> None:
        if os.geteuid() != 0:
            raise Unsupported(f"deleting the module {name} is not for user {os.geteuid()}")
        self.name = name
        # A fresh interpreter, since a fork would have our descriptors and mappings; and a session
        # of its own, since Ctrl-C at the terminal is not for the waiter.
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _DELETE, _kernel_name(name)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The child that makes the call."""
        return self._child.pid

    def wait(self, deadline: float) -> int | None:
        """The errno of the call (0: the module is gone), None when ``deadline`` seconds passed."""
        try:
            return self._child.wait(deadline)
        except subprocess.TimeoutExpired:
            return None

    def must_answer(self, deadline: float) -> int:
        """The errno of the call; 0: the module is gone.

        :raises KernelSplat: the call did not return within ``deadline`` seconds.
        """
        answer = self.wait(deadline)
        if answer is None:
            raise KernelSplat(
                f"delete_module of {self.name} did not return within {deadline:g} s, look for who"
                f" uses its devices: {process_state(self._child.pid)}",
                oracle="hang",
            )
        return answer

    def abandon(self) -> None:
        """Kill the child, as far as it can be: one that waits in the kernel ends when it is let."""
        self._child.kill()
        self.wait(1.0)


def is_loaded(name: str) -> bool:
    """The module is in the kernel, be it loaded or built in."""
    return (MODULES / _kernel_name(name)).is_dir()


def is_available(name: str) -> bool:
    """modprobe would find the module for the running kernel, loaded or not."""
    try:
        done = subprocess.run(
            ["modprobe", "--dry-run", "--quiet", name],
            stdin=subprocess.DEVNULL,
            env=_environment(),
            timeout=30,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def loaded() -> list[str]:
    """The modules that are loaded and not built in, in the order in which they were loaded."""
    lines = _LOADABLE.read_text().splitlines()
    return [line.split()[0] for line in reversed(lines)]


def references(name: str) -> int | None:
    """Its reference count; None when it is not loaded, or built in and so never counted."""
    count = attribute(MODULES / _kernel_name(name) / "refcnt")
    return None if count is None else int(count)


def holders(name: str) -> list[str]:
    """The loaded modules that use it, each of which holds one of its references."""
    return names_in(MODULES / _kernel_name(name) / "holders")


def load(name: str, *parameters: str, deadline: float = 60.0) -> None:
    """The module is loaded; nothing happens when it already is.

    :param parameters: ``name=value`` each, used only when it is loaded now.
    :raises Unsupported: this kernel has no such module, or this user is not root.
    :raises KernelSplat: the module is there and does not load, or not within ``deadline`` seconds.
    """
    if is_loaded(name):
        return
    answer = _modprobe([name, *parameters], deadline)
    if answer and "not found" in answer:
        raise Unsupported(
            f"this kernel has no module {name}: build it with the option that adds it"
        )
    if answer and os.geteuid() != 0:
        raise Unsupported(
            f"module {name} is not loaded, and not for user {os.geteuid()} to load ({answer}): let"
            f" root do it, with modprobe {name}"
        )
    if answer:
        raise KernelSplat(f"modprobe {name} failed: {answer}; see the kernel log", oracle="modules")


def load_available(names: Iterable[str]) -> None:
    """Load each that this kernel has; a test that needs another one says so itself."""
    for name in names:
        with contextlib.suppress(Unsupported):
            load(name)


def unload(name: str, deadline: float = 60.0) -> None:
    """The module is no longer loaded, nor any that only it needed.

    :raises HarnessError: it is in use, or built in; Unsupported when this user is not root.
    :raises KernelSplat: the module did not go within ``deadline`` seconds.
    """
    if not is_loaded(name):
        return
    answer = _modprobe(["-r", name], deadline)
    # Only this counts: modprobe also complains when a dependent's removal took the module along.
    if is_loaded(name):
        kind = HarnessError if os.geteuid() == 0 else Unsupported
        raise kind(
            f"module {name} can not be unloaded: {answer or 'it is built in'}; references"
            f" {references(name)}, used by {', '.join(holders(name)) or 'no module'}"
        )


@contextlib.contextmanager
def deleting(name: str) -> Iterator[Deletion]:
    """delete_module(2) of the module has been called inside; after, a call that waits is left."""
    deletion = Deletion(name)
    try:
        yield deletion
    finally:
        deletion.abandon()


def delete_errno(name: str, deadline: float = 60.0) -> int:
    """Delete the module; returns 0, or EWOULDBLOCK when it, or what depends on it, is in use.

    Unlike :func:`unload` this asks the kernel, whatever /proc/modules says of users.
    Source: delete_module(2), with O_NONBLOCK.

    :raises KernelSplat: the call did not return within ``deadline`` seconds.
    """
    with deleting(name) as deletion:
        return deletion.must_answer(deadline)


def _modprobe(arguments: list[str], deadline: float) -> str:
    """What modprobe complained of; "" when it succeeded."""
    try:
        child = subprocess.Popen(
            ["modprobe", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=_environment(),
            text=True,
            start_new_session=True,  # Ctrl-C at the terminal is not for a module's init
        )
    except FileNotFoundError:
        raise HarnessError("modprobe is not installed: install the package kmod") from None
    try:
        _, complaint = child.communicate(timeout=deadline)
    except subprocess.TimeoutExpired:
        where = process_state(child.pid)
        child.kill()  # it ends when the kernel lets it; waiting for that could take for ever
        raise KernelSplat(
            f"modprobe {' '.join(arguments)} did not return within {deadline:g} s: {where}",
            oracle="hang",
        ) from None
    return " ".join(complaint.split()) or "no message" if child.returncode else ""


def _environment() -> dict[str, str]:
    """A user's PATH has no sbin, where modprobe is."""
    return {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}{_SBIN}"}


def _kernel_name(name: str) -> str:
    return name.replace("-", "_")
