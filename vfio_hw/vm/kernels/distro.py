"""The kernel that Debian itself installs, as it is packaged: fetched, unpacked, not installed."""

import platform
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from vfio_hw import cache
from vfio_hw.cache import Say
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import image, samples, store, tools
from vfio_hw.vm.kernels.archive import Archive, Package
from vfio_hw.vm.kernels.store import Kernel

NAME = "distro"

_META = "linux-image-amd64"
_PARTS = ("linux-image-", "linux-modules-")
_MEGABYTES = 1200  # the packages (90), what is in them (450), the same again to breathe
_UNPACK_SECONDS = 300.0


def get(say: Say, *, refresh: bool = False) -> Kernel:
    """The kernel of this machine's own release of Debian, or else the newest.

    What could not be had of its samples before is tried once more.

    :raises HarnessError: it can not be had.
    """
    found = None if refresh else known()
    if found and samples.there(found.release, found.directory):
        return found
    with cache.locked("kernels", "fetching Debian's kernel", say):
        found = None if refresh else known()
        if found is None:
            return _fetched(say)
        package = store.pointer(NAME)
        if package and not samples.there(found.release, found.directory):
            try:
                archive = Archive(say)
                archive.ask()
            except HarnessError as error:
                say(f"the sample mediated devices are left out still: {error}")
            else:
                _complete(archive, found.release, package.version, found.directory, say)
        return found


def known() -> Kernel | None:
    """It, when it is in the cache."""
    package = store.pointer(NAME)
    directory = package and _directory(package)
    return _kernel(directory) if directory and directory.is_dir() else None


def _directory(package: Package) -> Path:
    return cache.directory() / "distro" / re.sub(r"[^\w.-]", "_", str(package))


def _kernel(directory: Path) -> Kernel:
    found = sorted((directory / "boot").glob("vmlinuz-*"))
    if not found:
        raise HarnessError(f"{directory} has no boot/vmlinuz-*: remove it and try again")
    release = image.release(found[0])
    config = directory / "boot" / f"config-{release}"
    return Kernel(
        name=NAME,
        release=release,
        image=found[0],
        modules=store.modules_of(directory, release),
        headers=None,
        config=config if config.is_file() else None,
        directory=directory,
    )


def _fetched(say: Say) -> Kernel:
    if platform.machine() != "x86_64":
        raise HarnessError(f"Debian's kernel is booted on x86_64 only, not on {platform.machine()}")
    tools.require([("dpkg-deb", "dpkg"), ("depmod", "kmod")], "unpacking Debian's kernel")
    cache.require_space(cache.directory(), _MEGABYTES, "Debian's kernel")
    archive = Archive(say)
    archive.ask()
    meta = _chosen(archive.versions(_META))
    target = _directory(meta)
    if not target.is_dir():
        with cache.published(target) as partial:
            for package in _closure(archive, meta):
                unpack(archive, package, partial)
            _flatten(partial)
            release = next(partial.glob("boot/vmlinuz-*")).name.removeprefix("vmlinuz-")
            _complete(archive, release, meta.version, partial, say)
    elif not samples.there(release := _kernel(target).release, target):
        _complete(archive, release, meta.version, target, say)
    store.point(NAME, meta)
    return _kernel(target)


def _complete(archive: Archive, release: str, version: str, root: Path, say: Say) -> None:
    """Add the samples, and list all modules."""
    samples.add(archive, release, version, root, say)
    tools.run(["depmod", "-b", root, release], "listing the modules", timeout=120)


def _chosen(versions: Iterable[tuple[Package, str]]) -> Package:
    """The one that this machine's release has, or else the newest that is no candidate."""
    there = [(package, suite) for package, suite in versions if "~rc" not in package.version]
    if not there:
        raise HarnessError(f"the Debian archive has no {_META} now: give another kernel")
    own = [package for package, suite in there if suite == _codename()]
    return own[0] if own else there[0][0]


def _codename() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def _closure(archive: Archive, meta: Package) -> list[Package]:
    """The packages that hold the image and its modules."""
    found: list[Package] = []
    todo = [meta]
    while todo:
        for package in archive.needs(todo.pop()):
            if package.name.startswith(_PARTS) and package not in found:
                found.append(package)
                todo.append(package)
    return found


def unpack(archive: Archive, package: Package, into: Path) -> None:
    """Fetch a package and put its files under a directory."""
    with tempfile.TemporaryDirectory(dir=cache.directory(), prefix="fetch-") as fetched:
        deb = archive.fetch(package, Path(fetched))
        command: list[str | Path] = ["dpkg-deb", "-x", deb, into]
        tools.run(command, f"unpacking {package}", timeout=_UNPACK_SECONDS, into=into)


def _flatten(directory: Path) -> None:
    """Debian 13 has its modules below usr, which is where lib points to on its machines."""
    inside = directory / "usr" / "lib" / "modules"
    if inside.is_dir() and not (directory / "lib" / "modules").exists():
        (directory / "lib").mkdir(exist_ok=True)
        inside.rename(directory / "lib" / "modules")
    shutil.rmtree(directory / "usr", ignore_errors=True)
