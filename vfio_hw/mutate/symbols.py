"""Tells of a module that the kernel would not load, as it uses what nobody gives it."""

from pathlib import Path

from vfio_hw.vm.kernels import tools

_SECONDS = 60.0


def unresolved(objects: Path, module: Path, view: Path) -> list[str]:
    """The symbols for whose lack the kernel would not load a module made anew.

    Those that the module did without before, and that neither the kernel nor a module on which it
    depended before exports to it (modules.dep stays as it is).

    :param objects: where the kernel was built.
    :param module: its path there, and in ``view``, which has the new one.
    :raises HarnessError: a module can not be read.
    """
    old, new = objects / module, view / module
    before = _undefined(old) if old.is_file() else set()
    added = _undefined(new) - before
    if not added:
        return []
    exported = _exported(objects / "Module.symvers")
    owners = {exported[name][0] for name in before if name in exported} | {"vmlinux"}
    imported = new.read_bytes()

    def given(name: str) -> bool:
        owner, namespace = exported.get(name, ("", ""))
        return owner in owners and (
            not namespace or f"import_ns={namespace}\0".encode() in imported
        )

    return sorted(name for name in added if not given(name))


def _undefined(module: Path) -> set[str]:
    """What a module uses and has not; what it can do without (``w``) is left out."""
    command: list[str | Path] = ["nm", "--undefined-only", "--format=posix", module]
    lines = tools.run(command, f"reading {module.name}", timeout=_SECONDS).splitlines()
    return {words[0] for words in map(str.split, lines) if words[1:2] == ["U"]}


def _exported(symvers: Path) -> dict[str, tuple[str, str]]:
    """Exporter and namespace of each symbol.

    (scripts/mod/modpost.c, ``write_dump``: checksum, symbol, module, way of export, namespace.)
    """
    if not symvers.is_file():
        return {}
    lines = (line.split("\t") for line in symvers.read_text().splitlines())
    return {words[1]: (words[2], words[4]) for words in lines if len(words) == 5}
