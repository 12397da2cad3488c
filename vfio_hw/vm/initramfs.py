"""What a guest starts with: our first process and the files that tell it what to run."""

import hashlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vfio_hw import cache
from vfio_hw.errors import HarnessError
from vfio_hw.vm.preload import preloaded

_SOURCE = Path(__file__).with_name("init.c")
_COMPILER = ["cc", "-static", "-Os", "-Wall", "-Wextra"]
_PACKED = "packed"


@dataclass(frozen=True)
class Member:
    """A file or directory in an archive; times in whole seconds since 1970."""

    path: str  # without leading slash
    mode: int = stat.S_IFREG | 0o644
    content: bytes = b""
    user: int = 0
    group: int = 0
    time: int = 0


def archive(members: Sequence[Member]) -> bytes:
    """The files as a cpio archive of the only kind the kernel unpacks.

    :param members: directories that none of them names are added, before what is in them.

    Source: Documentation/driver-api/early-userspace/buffer-format.rst ("newc").
    """
    parts: list[bytes] = []
    seen = {"."}
    for member in members:
        for parent in reversed(Path(member.path).parents):
            if str(parent) not in seen:
                seen.add(str(parent))
                parts.append(_packed(len(parts), Member(str(parent), stat.S_IFDIR | 0o755)))
        seen.add(member.path)
        parts.append(_packed(len(parts), member))
    return b"".join([*parts, _packed(0, Member("TRAILER!!!", 0))])


def _packed(inode: int, member: Member) -> bytes:
    name = member.path.encode("utf-8", "surrogateescape") + b"\0"
    fields = [inode, member.mode, member.user, member.group, 1, member.time, len(member.content)]
    fields += [0, 0, 0, 0, len(name), 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(member.content)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def copies(files: Sequence[Path]) -> Iterator[Member]:
    """The files of this machine, and the directories they are in, below ``packed``.

    Python takes bytecode for current when its source has the time and the size that are noted in
    it. A file that is gone by now is left out.
    """
    seen: set[Path] = set()
    # Symbolic links stay with the host: a directory in their place would hide what they point to.
    for file in sorted({path.resolve() for path in files}):
        try:
            content = file.read_bytes()
            for path in (*reversed(file.parents[:-1]), file):
                if path not in seen:
                    seen.add(path)
                    yield _copy(path, content if path == file else b"")
        except OSError:
            continue


def _copy(path: Path, content: bytes) -> Member:
    found = path.stat()
    return Member(
        f"{_PACKED}{path}", found.st_mode, content, found.st_uid, found.st_gid, int(found.st_mtime)
    )


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
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path,
    modules: Path | None,
    packed: Sequence[Path] = (),
) -> bytes:
    """The archive that makes a guest run ``argv`` in ``cwd`` and report its exit status.

    :param modules: the host's lib/modules/RELEASE, which the guest will find in its place.
    :param packed: files that the guest gets in its memory, as they are now.
    """
    # Their order is that of their names.
    first = {
        f"guest/preload/{number:03}-{name}": content
        for number, (name, content) in enumerate(preloaded(modules).items())
    }
    files = {
        "guest/argv": _strings(argv),
        "guest/environ": _strings([f"{key}={value}" for key, value in environment.items()]),
        "guest/cwd": os.fsencode(cwd),
        "guest/modules": os.fsencode(modules) if modules else b"",
        **first,
    }
    return archive(
        [
            Member("init", stat.S_IFREG | 0o755, first_process()),
            *(Member(path, content=content) for path, content in files.items()),
            Member(_PACKED, stat.S_IFDIR | 0o755),
            *copies(packed),
        ]
    )


def _strings(values: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(value) + b"\0" for value in values)
