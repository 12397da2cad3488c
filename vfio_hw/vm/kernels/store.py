"""The built kernels in the cache: what each was made of, and which one a name means now."""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vfio_hw import cache
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import profiling, tools
from vfio_hw.vm.kernels.archive import Package

_RECORD = "kernel.json"


@dataclass(frozen=True)
class Kernel:
    """A kernel that is ready to boot."""

    name: str
    """What it was asked for by: a name, or a path."""
    release: str
    """What ``uname -r`` says in it."""
    image: Path
    """Its bzImage."""
    modules: Path
    """Its directory lib/modules/RELEASE."""
    headers: Path | None
    """The include directory that make headers filled; None for a kernel given by path."""
    config: Path | None
    """Its .config, when it is known."""
    directory: Path
    """Where its files are."""
    objects: Path | None = None
    """Where it was compiled, for one that was built from source and whose objects may be used."""


@dataclass(frozen=True)
class Recipe:
    """Everything a built kernel depends on; two equal recipes make the same kernel."""

    package: Package
    fragments: tuple[str, ...]
    fragment_hash: str
    compiler: str
    architecture: str

    @property
    def key(self) -> str:
        """The name of the kernel's directory."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def directory(self) -> Path:
        """Where the built kernel is, or would be."""
        return cache.directory() / "kernel" / self.key

    @property
    def objects(self) -> Path:
        """Where it is compiled (the O= of its make); kept, like its source."""
        return cache.directory() / "build" / self.key


def recipe(package: Package, fragments: tuple[str, ...], text: str) -> Recipe:
    """The recipe for a source package and the text of its fragments, with this machine's gcc.

    :raises HarnessError: there is no gcc.
    """
    asked = "\n".join([text, *profiling.variables(fragments)])
    return Recipe(
        package=package,
        fragments=fragments,
        fragment_hash=hashlib.sha256(asked.encode()).hexdigest(),
        compiler=compiler(),
        architecture=platform.machine(),
    )


def compiler() -> str:
    """The line in which gcc names its version.

    :raises HarnessError: there is no gcc.
    """
    tools.require([("gcc", "gcc")], "building a kernel")
    said = tools.run(["sh", "-c", "gcc -v 2>&1"], "asking gcc for its version", timeout=30)
    return next((line for line in said.splitlines() if line.startswith("gcc version")), said)


@dataclass(frozen=True)
class Record:
    """What is written of a kernel when, and only when, all of it is there."""

    release: str
    version: str
    recipe: Recipe
    seconds: float
    """How long make ran in the build that made it."""
    lines: int
    """How many steps make logged in a build from nothing: the length of the progress bar."""
    dropped: list[str] = field(default_factory=list)
    """Optional options that this kernel does not know."""

    def write(self, directory: Path) -> None:
        """Put the record into the directory of a kernel."""
        text = json.dumps(asdict(self), indent=2, sort_keys=True)
        (directory / _RECORD).write_text(f"{text}\n")


def read(directory: Path) -> Record | None:
    """The record of a whole kernel; None for a half-built one, or for something else."""
    try:
        fields = json.loads((directory / _RECORD).read_text())
        of = fields.pop("recipe")
        package = Package(**of.pop("package"))
        made = Recipe(package=package, fragments=tuple(of.pop("fragments")), **of)
        return Record(recipe=made, **fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def find(name: str, wanted: Recipe) -> Kernel | None:
    """The kernel built by that recipe, under a name; None when it is not built, or half."""
    record = read(wanted.directory)
    if record is None or record.recipe != wanted:
        return None
    return _kernel(name, wanted.directory, record)


def _kernel(name: str, directory: Path, record: Record) -> Kernel:
    return Kernel(
        name=name,
        release=record.release,
        image=directory / "bzImage",
        modules=directory / "lib" / "modules" / record.release,
        headers=directory / "include",
        config=directory / "config",
        directory=directory,
        objects=record.recipe.objects,
    )


def records() -> Iterator[tuple[Path, Record]]:
    """Every built kernel's directory and record, the youngest first."""
    directories = [path.parent for path in (cache.directory() / "kernel").glob(f"*/{_RECORD}")]
    for path in sorted(directories, key=lambda d: d.stat().st_mtime, reverse=True):
        record = read(path)
        if record and record.recipe.key == path.name:
            yield path, record


def built(names: dict[Path, str]) -> list[Kernel]:
    """Every built kernel, under the name given for its directory, or else its version."""
    return [_kernel(names.get(path, record.version), path, record) for path, record in records()]


def _pointer_file(name: str) -> Path:
    return cache.directory() / "names" / name


def pointer(name: str) -> Package | None:
    """The source package that a name stood for when it was last built."""
    try:
        return Package(**json.loads(_pointer_file(name).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def point(name: str, package: Package) -> None:
    """Let a name stand for a source package."""
    path = _pointer_file(name)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(asdict(package)))
    partial.replace(path)


def expected_lines() -> int:
    """How many steps make will log, to go by what it logged last."""
    counts = [record.lines for _, record in records()]
    return counts[0] if counts else 2100


def modules_of(root: Path, release: str) -> Path:
    """The directory lib/modules/RELEASE under ``root``, or ``root`` itself when it is that.

    :raises HarnessError: it holds the modules of another kernel, or none, or no modules.dep.
    """
    inside = root / "lib" / "modules"
    if inside.is_dir():
        found = sorted(path.name for path in inside.iterdir() if path.is_dir())
        where = inside / release
    else:
        found = [root.resolve().name]
        where = root
    if release not in found:
        there = ", ".join(found) or "none"
        raise HarnessError(
            f"the image is of kernel {release}, and {root} has the modules of {there}: "
            "build and install both from one tree"
        )
    if not (where / "modules.dep").is_file():
        raise HarnessError(f"{where} has no modules.dep: run depmod -b BASE {release}")
    return where.absolute()
