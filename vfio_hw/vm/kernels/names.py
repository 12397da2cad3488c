"""Which kernel a name means, and how to come by it."""

from pathlib import Path

from vfio_hw import cache
from vfio_hw.cache import Say
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import build, config, distro, source, store, tree
from vfio_hw.vm.kernels.archive import Archive, Package, choose
from vfio_hw.vm.kernels.store import Kernel

_SERIES: dict[str, str | None] = {
    "latest": None,
    "latest-debug": None,
    "latest-cov": None,
    "6.12": "6.12",
    "6.12-debug": "6.12",
    "6.12-cov": "6.12",
    "6.1": "6.1",
    "6.1-debug": "6.1",
    "6.1-cov": "6.1",
}
_FRAGMENTS: dict[str, tuple[str, ...]] = {
    "latest": ("base",),
    "latest-debug": ("base", "debug"),
    "latest-cov": ("base", "cov"),
    "6.12": ("base", "6.12"),
    "6.12-debug": ("base", "6.12", "debug"),
    "6.12-cov": ("base", "6.12", "cov"),
    "6.1": ("base", "6.12", "6.1"),
    "6.1-debug": ("base", "6.12", "6.1", "debug"),
    "6.1-cov": ("base", "6.12", "6.1", "cov"),
}
_FALLBACK = "6.12"

NAMES = (*_SERIES, distro.NAME)


def get(
    name_or_path: str, *, modules: Path | None = None, say: Say, refresh: bool = False
) -> Kernel:
    """The kernel of a name or a path, fetched and built first when it has to be.

    :param modules: for a bzImage given by path, its modules.
    :param say: takes one line on what is being done.
    :param refresh: ask the archive for a newer source, instead of going by the last answer.
    :raises HarnessError: an unknown name, or a kernel that can not be had.
    """
    with cache.filling(cache.directory()):
        if name_or_path not in NAMES:
            if "/" in name_or_path or (name_or_path and Path(name_or_path).exists()):
                return tree.resolve(name_or_path, modules, say)
            raise HarnessError(
                f"no kernel is named {name_or_path}: there is {', '.join(NAMES)}, "
                "or give the path of a built tree or of a bzImage"
            )
        if modules is not None:
            raise HarnessError(f"{name_or_path} has its own modules: name none beside it")
        if name_or_path == distro.NAME:
            return distro.get(say, refresh=refresh)
        if name_or_path == "latest":
            return _latest(say, refresh)
        return _named(name_or_path, say, refresh)


def built() -> list[Kernel]:
    """Every kernel in the cache that was built from the archive, the youngest first.

    One that no name stands for any more, because its fragments have changed or a newer source has
    come, goes by its version.

    :raises HarnessError: there is no gcc to have built them with, or to build one.
    """
    store.compiler()
    current = (known(name) for name in NAMES)
    return store.built({kernel.directory: kernel.name for kernel in current if kernel})


def known(name: str) -> Kernel | None:
    """The kernel of a name when it is in the cache; nothing is fetched or built.

    :raises HarnessError: there is no gcc to have built it with.
    """
    if name == distro.NAME:
        return distro.known()
    package = store.pointer(name)
    if package is None:
        return None
    fragments = _FRAGMENTS[name]
    return store.find(name, store.recipe(package, fragments, config.read(fragments)))


def _latest(say: Say, refresh: bool) -> Kernel:
    """The newest kernel, or the fallback when that one can not be had."""
    try:
        return _named("latest", say, refresh)
    except HarnessError as error:
        reason = error
    say(f"latest can not be had, so {_FALLBACK} takes its place: {reason}")
    try:
        return _named(_FALLBACK, say, refresh)
    except HarnessError as error:
        second = "for the same reason" if str(error) == str(reason) else str(error)
        raise HarnessError(f"no kernel: latest: {reason}; nor {_FALLBACK}: {second}") from error


def _named(name: str, say: Say, refresh: bool) -> Kernel:
    found = None if refresh else known(name)
    if found:
        return found
    with cache.locked("kernels", f"building kernel {name}", say):
        # Whoever held the lock may have built it.
        return (None if refresh else known(name)) or _make(name, say, refresh)


def _make(name: str, say: Say, refresh: bool) -> Kernel:
    fragments = _FRAGMENTS[name]
    text = config.read(fragments)
    archive = Archive(say)
    package = None if refresh else _unpacked(name)
    if package is None:
        package = choose(archive.packages(), _SERIES[name])
    recipe = store.recipe(package, fragments, text)
    if store.find(name, recipe) is None:
        build.build(recipe, source.provide(package, archive, say), text, say)
    store.point(name, package)
    kernel = store.find(name, recipe)
    assert kernel is not None
    return kernel


def _unpacked(name: str) -> Package | None:
    """The package a name stands for, while its source is in the cache."""
    package = store.pointer(name)
    return package if package and source.directory(package).is_dir() else None
