"""The unpacked sources of kernels, kept because variants of their modules are built from them."""

import re
import subprocess
import tempfile
from pathlib import Path

from vfio_hw import cache
from vfio_hw.cache import Say
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import tools
from vfio_hw.vm.kernels.archive import Archive, Package

# The package (170) beside the unpacked tree (1900) and, later, the objects of a build (500).
_MEGABYTES = 3000

_UNPACK_SECONDS = 600.0


def directory(package: Package) -> Path:
    """Where the package's source is, or would be; it is whole when it exists."""
    # Version numbers have "~" and "+" and ":", which makefiles and their scripts may mistake.
    version = re.sub(r"[^\w.-]", "_", package.version)
    return cache.directory() / "source" / f"{package.name}_{version}"


def source_of(objects: Path) -> Path:
    """The source that was compiled there: linked when the kernel was built apart from it."""
    link = objects / "source"
    return link.resolve() if link.is_dir() else objects


def provide(package: Package, archive: Archive, say: Say) -> Path:
    """The unpacked source, from the cache or else from the archive. The caller holds the lock.

    :raises HarnessError: it can not be fetched or unpacked, or the disk is too small.
    """
    target = directory(package)
    if target.is_dir():
        return target
    needed = [("dpkg-deb", "dpkg"), ("tar", "tar"), ("xz", "xz-utils")]
    tools.require(needed, "unpacking a kernel source")
    cache.require_space(cache.directory(), _MEGABYTES, f"{package}, unpacked and built,")
    with (
        cache.published(target) as partial,
        tempfile.TemporaryDirectory(dir=cache.directory(), prefix="fetch-") as fetched,
    ):
        deb = archive.fetch(package, Path(fetched))
        say(f"unpacking {package}")
        _unpack(deb, partial)
    return target


def _unpack(deb: Path, into: Path) -> None:
    """One pipe from the package to the files, so that no step waits for the one before it."""
    stages = (
        ("dpkg-deb", "--fsys-tarfile", str(deb)),
        ("tar", "-xO", "--wildcards", "./usr/src/linux-source-*.tar.xz"),
        ("xz", "-dc", "-T0"),
        ("tar", "-x", "--no-same-owner", "--strip-components=1", "-C", str(into)),
    )
    with tempfile.TemporaryFile() as said:
        running: list[subprocess.Popen[bytes]] = []
        try:
            for stage in stages:
                before = running[-1].stdout if running else subprocess.DEVNULL
                last = len(running) == len(stages) - 1
                process = subprocess.Popen(
                    stage,
                    env=tools.environment(),
                    stdin=before,
                    stdout=subprocess.DEVNULL if last else subprocess.PIPE,
                    stderr=said,
                )
                if running and running[-1].stdout:
                    running[-1].stdout.close()
                running.append(process)
            running[-1].wait(_UNPACK_SECONDS)
            statuses = [process.wait(_UNPACK_SECONDS) for process in running]
        except subprocess.TimeoutExpired as error:
            raise HarnessError(
                f"unpacking {deb.name}: not done in {_UNPACK_SECONDS:g} s"
            ) from error
        finally:
            for process in running:
                process.kill()
                process.wait()
        if any(statuses):
            said.seek(0)
            output = said.read().decode(errors="replace")
            raise tools.failure(f"unpacking {deb.name}", "tar", max(statuses), output, into)
