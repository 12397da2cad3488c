"""Builds a kernel from its source: configured, compiled, and put into the cache whole."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from vfio_hw import cache
from vfio_hw.cache import Say
from vfio_hw.vm.kernels import config, image, profiling, progress, store, tools

TOOLS = (
    ("make", "make"),
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("flex", "flex"),
    ("bison", "bison"),
    ("bc", "bc"),
    ("perl", "perl"),
    ("depmod", "kmod"),
)

# Debug information would make a module ten times as large, to be read over 9p.
STRIPPED = "INSTALL_MOD_STRIP=1"

_MEGABYTES = 500  # 240 of objects, the image and modules, and as much again to breathe
_WITH_LINES = 2000  # the same for objects with debug information
_MAKE_SECONDS = 3600.0


def build(recipe: store.Recipe, source: Path, fragments: str, say: Say) -> None:
    """Make the kernel of a recipe; it is in ``recipe.directory`` afterwards, whole.

    What an earlier, interrupted build has compiled is used again. The caller holds the lock.

    :raises HarnessError: a tool is missing, an option did not survive, the compiler failed, the
        disk is full, or an hour has passed.
    """
    version = recipe.package.kernel_version
    tools.require(TOOLS, f"building Linux {version}")
    lines = any(name.startswith("CONFIG_DEBUG_INFO") for name in config.parse(fragments))
    megabytes = _WITH_LINES if lines else _MEGABYTES
    cache.require_space(cache.directory(), megabytes, f"building Linux {version}")
    objects = recipe.objects
    fresh = not objects.exists()
    objects.mkdir(parents=True, exist_ok=True)
    say(f"configuring Linux {version}")
    dropped = config.configure(source, objects, fragments)
    if dropped:
        say(f"Linux {version} does not know {', '.join(dropped)}")
    seconds, steps = _compile(recipe, source, say)
    say(f"installing Linux {version}")
    with cache.published(recipe.directory) as partial:
        release = _install(source, objects, partial)
        store.Record(
            release=release,
            version=version,
            recipe=recipe,
            seconds=round(seconds, 1),
            lines=steps if fresh else max(steps, store.expected_lines()),
            dropped=dropped,
        ).write(partial)


def _compile(recipe: store.Recipe, source: Path, say: Say) -> tuple[float, int]:
    """Seconds that make took, and steps it logged."""
    log = recipe.objects.with_suffix(".log")
    log.unlink(missing_ok=True)
    jobs = len(os.sched_getaffinity(0))
    make: list[str | Path] = ["make", f"-j{jobs}", "-C", source, f"O={recipe.objects}"]
    make += profiling.variables(recipe.fragments)
    doing = f"building Linux {recipe.package.kernel_version}"
    start = time.monotonic()
    count = _line_counter(log)
    with progress.bar(doing, store.expected_lines(), say) as advanced:
        tools.watch(
            [*make, "all", "headers"],
            doing,
            timeout=_MAKE_SECONDS,
            log=log,
            into=recipe.objects,
            glance=lambda: advanced(count()),
        )
    return time.monotonic() - start, count()


def _line_counter(log: Path) -> Callable[[], int]:
    """A function that says how many steps make has logged, reading each line only once."""
    lines = offset = 0

    def count() -> int:
        nonlocal lines, offset
        with log.open("rb") as file:
            file.seek(offset)
            new = file.read()
        # A thousand headers are copied in the first seconds: no measure of how far the build is.
        lines += new.count(b"\n") - new.count(b"  HDRINST ")
        offset += len(new)
        return lines

    return count


def _install(source: Path, objects: Path, into: Path) -> str:
    """Put image, modules, headers and configuration into a directory; the kernel's release."""
    make: list[str | Path] = ["make", "-s", "-C", source, f"O={objects}"]
    install = [*make, f"INSTALL_MOD_PATH={into}", STRIPPED, "modules_install"]
    tools.run(install, "installing the modules", timeout=300, into=into)
    shutil.copyfile(objects / "arch" / "x86" / "boot" / "bzImage", into / "bzImage")
    shutil.copyfile(objects / ".config", into / "config")
    # What make headers left; headers_install would call rsync, which few machines have.
    shutil.copytree(objects / "usr" / "include", into / "include", ignore=_no_headers)
    release = image.release(into / "bzImage")
    store.modules_of(into, release)
    return release


def _no_headers(directory: str, names: list[str]) -> list[str]:
    return [n for n in names if not n.endswith(".h") and not (Path(directory) / n).is_dir()]
