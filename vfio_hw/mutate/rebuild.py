"""Compiles one changed source file again, and links the modules that it is part of.

Kbuild keeps the command that made each object (scripts/Kbuild.include, ``if_changed``), in the file
.NAME.cmd beside it. These commands are repeated in a directory that looks like the build's own and
shares all its files but those that are made anew: a second or two, where a make over the whole
tree takes half a minute to find out that nothing else has changed.
"""

import contextlib
import os
import re
import shlex
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import tools
from vfio_hw.vm.kernels.source import source_of

_COMMAND = re.compile(r"(?:saved)?cmd_\S+ := (.*)")
_SECONDS = 300.0


def rebuilt(objects: Path, file: str, text: str, view: Path) -> list[Path]:
    """Make the modules that contain ``file``, with ``text`` in its place.

    :param objects: the directory that the kernel was built in; nothing is changed there.
    :param view: an empty directory.
    :returns: the modules, as paths in ``view`` from its top on (drivers/vfio/vfio.ko).
    :raises HarnessError: the kernel was not built there, the file is in none of its modules, or it
        does not compile.
    """
    target = str(Path(file).with_suffix(".o"))
    compiling = _command(objects, target, f"compiling {file}")
    modules = _modules_of(objects, target)
    if not modules:
        raise HarnessError(f"{file} is in no module of the kernel built in {objects}: make it one")
    for directory in {Path(path).parent for path in (target, *modules)}:
        _mirror(objects, view, directory)
    _put(view / file, text)
    source = source_of(objects)
    _run(view, target, _with_source(compiling, file, source), f"compiling {file}")
    for module in modules:
        linked = f"{module}.o"
        if linked != target:
            _run(view, linked, _command(objects, linked, f"linking {linked}"), f"linking {linked}")
        final = f"{module}.ko"
        _run(view, final, _command(objects, final, f"linking {final}"), f"linking {final}")
    return [Path(f"{module}.ko") for module in modules]


def _command(objects: Path, target: str, doing: str) -> str:
    path = (objects / target).with_name(f".{Path(target).name}.cmd")
    try:
        first = path.read_text().partition("\n")[0]
    except OSError as error:
        raise HarnessError(
            f"{doing}: {path}: {error.strerror}: build this kernel, with what is tested as modules"
        ) from error
    found = _COMMAND.fullmatch(first.rstrip())
    if found is None:
        raise HarnessError(f"{doing}: {path} holds no command of Kbuild's: build the kernel anew")
    return found[1].replace("$(pound)", "#").replace("$$", "$")


def _modules_of(objects: Path, target: str) -> list[str]:
    """Modules by their path without suffix. A .mod file lists the objects of a module."""
    modules = []
    for path in objects.rglob("*.mod"):
        with contextlib.suppress(OSError):
            if target in (os.path.normpath(line) for line in path.read_text().split()):
                modules.append(str(path.relative_to(objects).with_suffix("")))
    return sorted(modules)


def _mirror(objects: Path, view: Path, directory: Path) -> None:
    """Make ``directory`` in ``view`` a real one, with links to what the build has in it."""
    for level in (*reversed(directory.parents), directory):
        here = view / level
        if here.is_symlink():
            here.unlink()
        here.mkdir(exist_ok=True)
        with os.scandir(objects / level) as entries:
            for entry in entries:
                with contextlib.suppress(FileExistsError):
                    (here / entry.name).symlink_to(entry.path)


def _put(path: Path, text: str) -> None:
    # A link would be followed, and the build's own file changed.
    path.unlink(missing_ok=True)
    path.write_text(text)


def _with_source(command: str, file: str, source: Path) -> str:
    """The command, for the file in the current directory; its own headers are found as before."""
    path = rf"(?<=\s)(?:\S*/)?{re.escape(file)}(?=\s|$)"
    here = shlex.quote(str((source / file).parent))
    changed, times = re.subn(path, lambda _: f"-iquote {here} {file}", command)
    if not times:
        raise HarnessError(f"the command that compiled {file} does not name it: build it anew")
    return changed


def _run(view: Path, target: str, command: str, doing: str) -> None:
    (view / target).unlink(missing_ok=True)
    script = f"cd {shlex.quote(str(view))} && {{ {command}\n}}"
    tools.run(["sh", "-c", script], doing, timeout=_SECONDS, into=view)
    if not (view / target).is_file():
        raise HarnessError(f"{doing} made no {target}: build the kernel anew")
