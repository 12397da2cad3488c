"""The modules of a kernel with one mutant among them, from the cache or made now."""

import hashlib
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from vfio_hw import cache
from vfio_hw.errors import HarnessError
from vfio_hw.mutate.apply import applied
from vfio_hw.mutate.mutant import Mutant
from vfio_hw.mutate.rebuild import rebuilt
from vfio_hw.mutate.symbols import unresolved
from vfio_hw.vm.kernels import Kernel, tools
from vfio_hw.vm.kernels.source import source_of


@dataclass(frozen=True)
class Variant:
    """What a guest boots to run a mutant: the kernel's own image, and these modules."""

    modules: Path
    key: str
    """Changes with the kernel, the source file and the patch."""
    seconds: float
    """How long it took to make; 0 when it was in the cache."""


def objects_of(kernel: Kernel) -> Path:
    """Where the kernel was compiled.

    :raises HarnessError: it was not built from source here, or its objects are gone.
    """
    if kernel.objects is None or not kernel.objects.is_dir():
        raise HarnessError(
            f"{kernel.name} can not be changed, as what it was compiled from is not at hand:"
            " name a kernel that this harness builds, or a built tree"
        )
    return kernel.objects


def key_of(mutant: Mutant, kernel: Kernel) -> str:
    """What a variant goes by in the cache, and its verdict in a record."""
    source = source_of(objects_of(kernel)) / mutant.file
    digest = hashlib.sha256(str(kernel.modules).encode())
    digest.update(source.read_bytes() if source.is_file() else b"")
    digest.update(mutant.path.read_bytes())
    return digest.hexdigest()[:16]


def source(mutant: Mutant, kernel: Kernel) -> str:
    """The text of the mutant's file, unchanged; empty without that file."""
    file = source_of(objects_of(kernel)) / mutant.file
    return file.read_text(errors="replace") if file.is_file() else ""


def provide(mutant: Mutant, kernel: Kernel) -> Variant:
    """The variant of a kernel that has the mutant.

    :raises HarnessError: the patch does not apply, or the result does not compile, or could not
        be loaded.
    """
    began = time.monotonic()
    key = key_of(mutant, kernel)
    target = cache.directory() / "mutants" / key
    modules = target / "lib" / "modules" / kernel.release
    with cache.filling(target), cache.locked("mutants", f"building {mutant.id}", lambda text: None):
        if modules.is_dir():
            return Variant(modules, key, 0.0)
        with cache.published(target) as partial:
            _make(mutant, kernel, partial / "lib" / "modules" / kernel.release)
    return Variant(modules, key, round(time.monotonic() - began, 1))


def _make(mutant: Mutant, kernel: Kernel, into: Path) -> None:
    objects = objects_of(kernel)
    text = applied(mutant, source_of(objects))
    shutil.copytree(kernel.modules, into, copy_function=_linked, symlinks=True)
    with tempfile.TemporaryDirectory(prefix="vfio-hw-") as directory:
        view = Path(directory)
        try:
            modules = rebuilt(objects, mutant.file, text, view)
        except HarnessError as error:
            raise HarnessError(_told(mutant, text, str(error))) from error
        for module in modules:
            if missing := unresolved(objects, module, view):
                raise HarnessError(
                    f"{mutant.id}: with it {mutant.file} makes a {module.name} that can not be"
                    f" loaded, as nobody exports {', '.join(missing)} to it: correct the patch"
                )
            installed = into / "kernel" / module
            if not installed.exists():
                raise HarnessError(
                    f"{mutant.id}: {module} is not in {kernel.modules}: install the modules of this"
                    " build there, not compressed (CONFIG_MODULE_COMPRESS)"
                )
            installed.unlink()
            # Debug information would make a module ten times as large, to be read over 9p.
            strip: list[str | Path] = ["strip", "--strip-debug", "-o", installed, view / module]
            tools.run(strip, f"installing {module}", timeout=60, into=into)


def _told(mutant: Mutant, text: str, why: str) -> str:
    """Why it could not be made, and in case of the compiler's complaint the line it is about."""
    found = re.search(
        rf"{re.escape(mutant.file)}:([0-9]+):(?:[0-9]+:)? (?:fatal )?error: (.*)", why
    )
    if found is None:
        return f"{mutant.id}: {why}"
    number, lines = int(found[1]), text.splitlines()
    line = f": `{lines[number - 1].strip()}`" if 0 < number <= len(lines) else ""
    return (
        f"{mutant.id}: {mutant.file} does not compile with it: {found[2]} (line {number}{line}):"
        " correct the patch"
    )


def _linked(source: str, target: str) -> None:
    """One file more in next to no space, where the file system can."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
