"""What a kernel is asked to be: fragments of configuration, and whether the kernel obeyed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import tools

_FRAGMENTS = Path(__file__).resolve().parents[3] / "fixtures" / "kconfig"
_SET = re.compile(r"(CONFIG_\w+)=(.+)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")
_OPTIONAL = "# Optional:"


@dataclass(frozen=True)
class Option:
    """One requested option: its value as in a .config file, ``n`` when it is not to be set."""

    name: str
    value: str
    optional: bool = False


def read(names: Sequence[str]) -> str:
    """The text of the fragments of those names, one after the other.

    :raises HarnessError: a fragment is not there.
    """
    texts = []
    for name in names:
        path = _FRAGMENTS / f"{name}.config"
        try:
            texts.append(path.read_text())
        except OSError as error:
            raise HarnessError(f"the fragment {path}: {error.strerror}") from error
    return "\n".join(texts)


def parse(text: str) -> dict[str, Option]:
    """The options of a fragment by name; of one that is named twice, the last.

    :raises HarnessError: a line is neither comment nor option, or a group has no reason.
    """
    options: dict[str, Option] = {}
    reasons: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        option = _option(line)
        if option:
            if not reasons:
                raise HarnessError(f"fragment line {number}: {option[0]} is in no group's reason")
            optional = reasons[0].startswith(_OPTIONAL)
            options[option[0]] = Option(*option, optional)
        elif line.startswith("#"):
            reasons.append(line)
        elif line.strip():
            raise HarnessError(f"fragment line {number}: neither comment nor option: {line}")
        else:
            reasons = []
    return options


def _option(line: str) -> tuple[str, str] | None:
    if found := _SET.fullmatch(line):
        return found[1], found[2]
    if found := _UNSET.fullmatch(line):
        return found[1], "n"
    return None


def settings(text: str) -> dict[str, str]:
    """The options that a .config file sets, by name."""
    found = (_SET.fullmatch(line) for line in text.splitlines())
    return {option[1]: option[2] for option in found if option}


def configure(source: Path, objects: Path, fragments: str) -> list[str]:
    """Make ``objects``/.config: tinyconfig, the fragments, and what they bring along.

    :returns: the optional options that this kernel does not know.
    :raises HarnessError: make fails, or the result is not what the fragments ask for.
    """
    _make(source, objects, "tinyconfig")
    result = objects / ".config"
    with result.open("a") as file:
        file.write(fragments)
    _make(source, objects, "olddefconfig")
    return verify(parse(fragments), settings(result.read_text()), source)


def _make(source: Path, objects: Path, target: str) -> None:
    command: list[str | Path] = ["make", "-s", "-C", source, f"O={objects}", target]
    tools.run(command, f"configuring {source.name}", timeout=300, into=objects)


def verify(wanted: Mapping[str, Option], have: Mapping[str, str], source: Path) -> list[str]:
    """Compare what was asked for with what came out, value for value.

    :returns: the optional options that the source's Kconfig files do not know.
    :raises HarnessError: names every option that is missing or has another value.
    """
    differing = [o for o in wanted.values() if have.get(o.name, "n") != o.value]
    known = _known(source) if any(option.optional for option in differing) else frozenset()
    dropped = [o for o in differing if o.optional and o.name not in known]
    wrong = [option for option in differing if option not in dropped]
    if wrong:
        told = ", ".join(f"{o.name} is {have.get(o.name, 'n')} instead of {o.value}" for o in wrong)
        raise HarnessError(
            f"{source.name} did not take every option: {told}; "
            "see what they depend on, and correct the fragment"
        )
    return [option.name for option in dropped]


def _known(source: Path) -> frozenset[str]:
    """Every option that the source's Kconfig files define."""
    names: set[str] = set()
    for path in _kconfig_files(source):
        text = path.read_text(errors="replace")
        names.update(re.findall(r"^\s*(?:menu)?config (\w+)\s*$", text, re.MULTILINE))
    return frozenset(f"CONFIG_{name}" for name in names)


def _kconfig_files(source: Path) -> Iterable[Path]:
    for path in source.rglob("Kconfig*"):
        if path.is_file():
            yield path
