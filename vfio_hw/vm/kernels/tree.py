"""Kernels given by path: a built tree, or a bzImage and its modules."""

import filecmp
import hashlib
import os
import shutil
import time
from pathlib import Path

from vfio_hw import cache
from vfio_hw.cache import Say
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import build, image, store, tools
from vfio_hw.vm.kernels.store import Kernel

_IMAGE = Path("arch/x86/boot/bzImage")
_DAY = 86400.0

OBJECTS = "objects"
"""Beside a bzImage, a link to where it was compiled; something else may be compiled there now."""


def resolve(given: str, modules: Path | None, say: Say) -> Kernel:
    """The kernel at a path: a bzImage, a tree built in place, or the O= directory of one.

    Nothing is written there: a tree's image and modules are put into the cache, and again whenever
    its image or one of its modules has changed; so guests boot what was built when they were told.

    :param modules: for a bzImage, a directory that has lib/modules/RELEASE or is it.
    :raises HarnessError: no image there, no modules, or modules of another release.
    """
    path = Path(given).expanduser().absolute()
    if path.is_dir():
        return _of_tree(given, path, modules, say)
    if not path.exists():
        raise HarnessError(f"no kernel at {path}: give a built kernel tree or a bzImage")
    release = image.release(path)
    if modules is None:
        raise HarnessError(
            f"{path} comes without its modules: name the directory that has lib/modules/{release}"
        )
    return Kernel(
        name=given,
        release=release,
        image=path,
        modules=store.modules_of(modules.expanduser(), release),
        headers=None,
        config=None,
        directory=path.parent,
        objects=_objects_of(path),
    )


def _objects_of(bzimage: Path) -> Path | None:
    objects = bzimage.parent / OBJECTS
    theirs = objects / _IMAGE
    same = theirs.is_file() and filecmp.cmp(bzimage, theirs, shallow=False)
    return objects.resolve() if same else None


def _of_tree(given: str, tree: Path, modules: Path | None, say: Say) -> Kernel:
    bzimage = tree / _IMAGE
    if not bzimage.is_file():
        raise HarnessError(f"{tree} has no {_IMAGE}: build the kernel there (make), then try again")
    release = image.release(bzimage)
    if modules is None:
        installed = _installed(tree, release, say)
        bzimage = installed / _IMAGE.name
    else:
        installed = modules.expanduser()
    config = tree / ".config"
    return Kernel(
        name=given,
        release=release,
        image=bzimage,
        modules=store.modules_of(installed, release),
        headers=None,
        config=config if config.is_file() else None,
        directory=tree,
        objects=tree,
    )


def _installed(tree: Path, release: str, say: Say) -> Path:
    """A directory in the cache with the tree's image and modules, as they are now."""
    with cache.locked("trees", f"installing the modules of {tree}", say):
        key = hashlib.sha256(str(tree.resolve()).encode()).hexdigest()[:16]
        now = state(tree)
        target = cache.directory() / "trees" / f"{key}-{now}"
        if not (target / _IMAGE.name).is_file():
            tools.require([("make", "make"), ("depmod", "kmod")], "installing kernel modules")
            say(f"installing the modules of {tree}")
            with cache.published(target) as partial:
                _install(tree, partial)
                store.modules_of(partial, release)
                shutil.copy2(tree / _IMAGE, partial / _IMAGE.name)
                if state(tree) != now:
                    raise HarnessError(f"{tree} is being built: wait for its make to end")
            _forget_old(target, key)
        os.utime(target)
    return target


def _install(tree: Path, into: Path) -> None:
    options = [f"INSTALL_MOD_PATH={into}", build.STRIPPED]
    command: list[str | Path] = ["make", "-s", "-C", tree, *options, "modules_install"]
    tools.run(command, f"installing the modules of {tree}", timeout=600, into=into)


def _forget_old(target: Path, key: str) -> None:
    """Remove what earlier states of the tree left, unless a guest may still be running from it."""
    for other in target.parent.glob(f"{key}-*"):
        if other != target and time.time() - other.stat().st_mtime > _DAY:
            shutil.rmtree(other)


def state(tree: Path) -> str:
    """Changes whenever the image or any module of the tree does."""
    order = tree / "modules.order"
    try:
        lines = order.read_text().split()
    except OSError as error:
        raise HarnessError(
            f"{order}: {error.strerror}: build the tree's modules, VFIO's among them (make)"
        ) from error
    # A module is listed as kernel/DIR/NAME.ko by old kernels, and as DIR/NAME.o by newer ones.
    names = [str(Path(line.removeprefix("kernel/")).with_suffix(".ko")) for line in lines]
    digest = hashlib.sha256()
    for name in (str(_IMAGE), "modules.order", *names):
        try:
            found = (tree / name).stat()
        except OSError as error:
            raise HarnessError(
                f"{tree / name}: {error.strerror}: finish the build (make)"
            ) from error
        digest.update(f"{name} {found.st_mtime_ns} {found.st_size}\n".encode())
    return digest.hexdigest()[:16]
