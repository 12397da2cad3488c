"""What a guest starts with: our first process and the files that tell it what to run."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from vfio_hw import cache
from vfio_hw.errors import HarnessError
from vfio_hw.vm.preload import preloaded

_SOURCE = Path(__file__).with_name("init.c")
_COMPILER = ["cc", "-static", "-Os", "-Wall", "-Wextra"]
_DIRECTORY, _PROGRAM, _FILE = 0o040755, 0o100755, 0o100644


def archive(files: Mapping[str, bytes], *, programs: Sequence[str] = ()) -> bytes:
    """The files as a cpio archive of the only kind the kernel unpacks.

    :param files: path without leading slash -> content; directories are added as needed.
    :param programs: the paths that get execute permission.

    Source: Documentation/driver-api/early-userspace/buffer-format.rst ("newc").
    """
    parts: list[bytes] = []
    seen: set[str] = set()
    for path, content in files.items():
        for parent in reversed(Path(path).parents):
            if str(parent) != "." and str(parent) not in seen:
                seen.add(str(parent))
                parts.append(_member(len(parts), str(parent), _DIRECTORY, b""))
        parts.append(_member(len(parts), path, _PROGRAM if path in programs else _FILE, content))
    return b"".join([*parts, _member(0, "TRAILER!!!", 0, b"")])


def _member(inode: int, path: str, mode: int, content: bytes) -> bytes:
    name = path.encode() + b"\0"
    fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def first_process() -> bytes:
    """The compiled guest init, from the cache when its source has not changed.

    :raises HarnessError: without a C compiler or a static C library.
    """
    key = hashlib.sha256(_SOURCE.read_bytes() + " ".join(_COMPILER).encode()).hexdigest()[:16]
    path = cache.directory() / "init" / key
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _compile(path)
    return path.read_bytes()


def _compile(path: Path) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    made = Path(name)
    try:
        done = subprocess.run(
            [*_COMPILER, "-o", str(made), str(_SOURCE)], capture_output=True, text=True, timeout=120
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[0]
            raise HarnessError(f"compiling the guest's init {_SOURCE}: {reason}")
        # The cache may serve other users too, like the kernels in it.
        made.chmod(0o755)
        made.rename(path)
    except FileNotFoundError:
        raise HarnessError("cc is not installed: run scripts/run, which installs it") from None
    finally:
        made.unlink(missing_ok=True)


def initramfs(
    argv: Sequence[str], *, environment: Mapping[str, str], cwd: Path, modules: Path | None
) -> bytes:
    """The archive that makes a guest run ``argv`` in ``cwd`` and report its exit status.

    :param modules: the host's lib/modules/RELEASE, which the guest will find in its place.
    """
    # Their order is that of their names.
    first = {
        f"guest/preload/{number:03}-{name}": content
        for number, (name, content) in enumerate(preloaded(modules).items())
    }
    return archive(
        {
            "init": first_process(),
            "guest/argv": _strings(argv),
            "guest/environ": _strings([f"{key}={value}" for key, value in environment.items()]),
            "guest/cwd": os.fsencode(cwd),
            "guest/modules": os.fsencode(modules) if modules else b"",
            **first,
        },
        programs=["init"],
    )


def _strings(values: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(value) + b"\0" for value in values)
