"""A kernel with patches on top: built from copies of its source and of its objects, and cached."""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from vfio_hw import cache
from vfio_hw.cache import Say
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import progress, series, tools, tree
from vfio_hw.vm.kernels.source import source_of
from vfio_hw.vm.kernels.store import Kernel

_WHOLE = "whole"  # a file that is there when, and only when, all else is
_MEGABYTES = 1500
_COPY_SECONDS = 900.0
_MAKE_SECONDS = 3600.0
_KEPT = 7 * 86400.0

# Kbuild compiles an object again when the path of its source, or of objtool, has changed. In a
# mount namespace of its own, make finds our copies where the originals were.
_IN_PLACE = 'mount --bind "$1" "$2" && mount --bind "$3" "$4" && shift 4 && exec "$@"'


def get(base: Kernel, files: Sequence[Path], say: Say) -> Kernel:
    """``base`` with the patches of the files applied in their order; built when it has to be.

    Neither the source nor the objects of ``base`` are changed.

    :raises HarnessError: it was not built from a source that is here, a patch does not apply, or
        the result does not compile.
    """
    objects = base.objects
    if objects is None:
        raise HarnessError(f"{base.name} can not be patched: its source and its objects are needed")
    source = source_of(objects)
    patches = [patch for path in files for patch in series.read(path)]
    digest = hashlib.sha256(f"{objects} {tree.state(objects)}".encode())
    if not _is_ours(source):
        digest.update(_state(source))
    for patch in patches:
        digest.update(hashlib.sha256(patch.diff).digest())
    target = cache.directory() / "patched" / digest.hexdigest()[:16]
    with cache.locked("patched", f"building {base.name} with {len(patches)} patches", say):
        if not (target / _WHOLE).exists():
            _forget_old(target.parent)
            shutil.rmtree(target, ignore_errors=True)
            try:
                _build(base.name, source, objects, patches, target, say)
            except HarnessError:
                shutil.rmtree(target, ignore_errors=True)
                raise
        os.utime(target / _WHOLE)
    apart = source != objects
    return tree.resolve(str(target / ("objects" if apart else "source")), None, say)


def _is_ours(source: Path) -> bool:
    """Whether it is in the cache, whose sources are never written again."""
    return source.is_relative_to(cache.directory())


def _state(source: Path) -> bytes:
    """Changes whenever a file of a source does, built or not: it is copied as it is now."""
    digest = hashlib.sha256()
    for directory, names, files in os.walk(source):
        names[:] = sorted(name for name in names if name != ".git")
        for name in sorted(files):
            path = f"{directory}/{name}"
            found = os.lstat(path)
            digest.update(f"{path}\0{found.st_size} {found.st_mtime_ns}\n".encode())
    return digest.digest()


def _build(
    name: str,
    source: Path,
    objects: Path,
    patches: list[series.Patch],
    target: Path,
    say: Say,
) -> None:
    cache.require_space(cache.directory(), _MEGABYTES, f"{name}, patched,")
    ours = target / "source"
    say(f"copying the source of {name}")
    # Links do for files that are never written again; patch leaves those alone.
    _copy(source, ours, "-al" if _is_ours(source) else "-a")
    series.apply(patches, ours)
    for patch in patches:
        say(f"applied: {patch.title}")
    there = ours
    if source != objects:
        there = target / "objects"
        _copy(objects, there, "-a")
    make = _make(source, ours, objects, there)
    tools.run([*make, "-s", "olddefconfig"], f"configuring {name}, patched", timeout=300)
    doing = f"building {name}, patched"
    with progress.bar(doing, 0, say):
        tools.watch(
            [*make, "all"],
            doing,
            timeout=_MAKE_SECONDS,
            log=target / "build.log",
            into=there,
            glance=lambda: None,
        )
    if source != objects:
        (there / "source").unlink(missing_ok=True)
        (there / "source").symlink_to(ours)
    (target / _WHOLE).touch()


def _make(source: Path, ours: Path, objects: Path, there: Path) -> list[str | Path]:
    """The beginning of a command that makes ``there`` from ``ours``."""
    make: list[str | Path] = ["make", f"-j{len(os.sched_getaffinity(0))}"]
    if not _has_namespaces():
        # Then all of it is compiled.
        return [*make, "-C", ours, *([f"O={there}"] if source != objects else [])]
    make += ["-C", source, *([f"O={objects}"] if source != objects else [])]
    mounts: list[str | Path] = [ours, source, there, objects]
    return ["unshare", "-m", "sh", "-c", _IN_PLACE, "sh", *mounts, *make]


def _copy(directory: Path, into: Path, how: str) -> None:
    into.mkdir(parents=True)
    entries = [path for path in directory.iterdir() if path.name != ".git"]
    command: list[str | Path] = ["cp", how, "--reflink=auto", "-t", into, "--", *entries]
    if how == "-al":
        command.remove("--reflink=auto")
    tools.run(command, f"copying {directory}", timeout=_COPY_SECONDS, into=into)


def _has_namespaces() -> bool:
    done = subprocess.run(
        ["unshare", "-m", "true"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
        check=False,
    )
    return done.returncode == 0


def _forget_old(directory: Path) -> None:
    """Remove what nobody has asked for in a week."""
    for whole in directory.glob(f"*/{_WHOLE}"):
        if time.time() - whole.stat().st_mtime > _KEPT:
            shutil.rmtree(whole.parent)
