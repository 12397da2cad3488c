"""What a mutant is: a semantic patch, and what its header says of it.

The keys are explained in fixtures/mutants/README.md.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from vfio_hw import order
from vfio_hw.errors import HarnessError
from vfio_hw.host.text import printable
from vfio_hw.vm.topology import topologies

CLASSES = (
    "reference leak",
    "reference underflow",
    "use after free",
    "null pointer",
    "memory leak",
    "number leak",
    "missing unwinding",
    "missing lock",
    "lock order",
    "deadlock",
    "endless loop",
    "lost wake-up",
    "wrong wait",
    "lost request",
    "stale entry",
    "wrong errno",
    "wrong answer",
    "accounting",
    "ownership",
    "wrong state",
    "missing zap",
)
PROMISES = tuple(f"P{number}" for number in range(1, 10))
KINDS = ("deterministic", "race")
DEVICES = (*order.KINDS, "none")
ORACLES = ("assertion", "kernel log", "leaks", "hang", "panic", "kmemleak")

_ID = re.compile(r"[A-Z0-9]+-[0-9]+")
_CONFIG = re.compile(r"CONFIG_[A-Z0-9_]+")
_LONGEST = 60  # characters of a bad value that are told
_COUNT = re.compile(r"[1-9][0-9]{0,2}")
_FILE = re.compile(r"[A-Za-z0-9_/.-]+\.c")
_LINE = re.compile(r"//\s*([a-z]+):\s*(\S.*?)\s*")
_FUNCTION = re.compile(r"^(\w+)\(", re.MULTILINE)
_REQUIRED = ("id", "title", "class", "promise", "origin", "device", "oracle", "kind", "file")
_OPTIONAL = ("changes", "machine", "needs", "equivalent", "see")


@dataclass(frozen=True)
class Mutant:
    """A bug that can be put back into a kernel."""

    id: str
    title: str
    kind_of_bug: str
    promise: str
    origin: str
    devices: tuple[str, ...]
    oracles: tuple[str, ...]
    race: bool
    file: str
    changes: int
    machine: str  # the only one to see it on; empty: any
    needs: str
    equivalent: str
    see: str
    path: Path
    about: str  # what it says of itself, and the names of the functions that it changes


def version(mutant: Mutant) -> str:
    """A digest of its file, header and all: what was seen of another version says nothing of it."""
    return hashlib.sha256(mutant.path.read_bytes()).hexdigest()[:16]


def read(path: Path) -> Mutant:
    """The mutant in a file.

    :raises HarnessError: the header lacks something or says something that it can not say.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} can not be read ({error}): is it a semantic patch?") from error
    fields = _header(path, text)
    if missing := [key for key in _REQUIRED if key not in fields]:
        raise HarnessError(
            f"{path}: the header lacks {', '.join(missing)}: add a line such as '// {missing[0]}:'"
        )
    changes = fields.get("changes", "1")
    if not _COUNT.fullmatch(changes):
        raise HarnessError(
            f"{path}: changes is '{_short(changes)}': give the number of changed places, 1 to 999"
        )
    return Mutant(
        id=_identity(path, fields["id"]),
        title=fields["title"],
        kind_of_bug=_one_of(path, "class", fields["class"], CLASSES),
        promise=_one_of(path, "promise", fields["promise"], PROMISES),
        origin=fields["origin"],
        devices=_some_of(path, "device", fields["device"], DEVICES),
        oracles=_some_of(path, "oracle", fields["oracle"], ORACLES),
        race=_one_of(path, "kind", fields["kind"], KINDS) == "race",
        file=_source_file(path, fields["file"]),
        changes=int(changes),
        machine=_machine(path, fields.get("machine", "")),
        needs=_option(path, fields.get("needs", "")),
        equivalent=fields.get("equivalent", ""),
        see=fields.get("see", ""),
        path=path,
        about=" ".join(
            [fields["title"], fields.get("see", ""), fields["file"], *_FUNCTION.findall(text)]
        ),
    )


def _header(path: Path, text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if not line.startswith("//"):
            break
        found = _LINE.fullmatch(line)
        key = found[1] if found else ""
        if found is None or key not in _REQUIRED + _OPTIONAL or key in fields:
            known = ", ".join(_REQUIRED + _OPTIONAL)
            raise HarnessError(
                f"{path}: '{_short(line)}' is no line of a header: once each, '// key: value' of"
                f" {known}"
            )
        fields[key] = found[2]
    return fields


def _short(value: str) -> str:
    """A value as it can be told in a sentence, whatever it is."""
    return printable(value if len(value) <= _LONGEST else f"{value[:_LONGEST]} ...")


def _identity(path: Path, value: str) -> str:
    # It becomes the name of a directory.
    if not _ID.fullmatch(value):
        raise HarnessError(
            f"{path}: id is '{_short(value)}': give letters, a dash and a number, as DEV-01"
        )
    if value != path.stem:
        raise HarnessError(f"{path}: id is '{_short(value)}' and the file another: make them equal")
    return value


def _one_of(path: Path, key: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise HarnessError(f"{path}: {key} is '{_short(value)}': give one of {', '.join(allowed)}")
    return value


def _some_of(path: Path, key: str, value: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    words = tuple(word.strip() for word in value.split(","))
    return tuple(_one_of(path, key, word, allowed) for word in words)


def _machine(path: Path, value: str) -> str:
    return _one_of(path, "machine", value, tuple(topologies())) if value else ""


def _option(path: Path, value: str) -> str:
    if value and not _CONFIG.fullmatch(value):
        raise HarnessError(
            f"{path}: needs is '{_short(value)}': give one option, such as CONFIG_KASAN"
        )
    return value


def _source_file(path: Path, value: str) -> str:
    if not _FILE.fullmatch(value) or value.startswith("/") or ".." in Path(value).parts:
        raise HarnessError(
            f"{path}: file is '{_short(value)}': give a .c file from the top of the kernel"
        )
    return value
