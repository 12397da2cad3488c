"""How often the lines of source files ran, as gcov(1) tells it; sums of that, and its record."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vfio_hw.errors import HarnessError


@dataclass(frozen=True)
class Function:
    """A function and the lines that it spans."""

    name: str
    first: int
    last: int


@dataclass
class Lines:
    """One source file: how often each line ran that code was made from."""

    counts: Counter[int] = field(default_factory=Counter)
    functions: set[Function] = field(default_factory=set)

    @property
    def total(self) -> int:
        """Lines that code was made from."""
        return len(self.counts)

    @property
    def reached(self) -> int:
        """Those of them that ran."""
        return sum(count > 0 for count in self.counts.values())

    def add(self, other: "Lines") -> None:
        """Add what another run, or another object made from the file, has counted."""
        # Counter.update adds, and unlike + keeps the lines that never ran.
        self.counts.update(other.counts)
        self.functions |= other.functions


@dataclass
class Coverage:
    """What was counted together, by the file's path in the kernel's source."""

    files: dict[str, Lines] = field(default_factory=dict)
    source: str = ""
    """Where that source is, or was."""

    def add(self, other: "Coverage") -> None:
        """Add what another guest has counted."""
        for path, lines in other.files.items():
            self.files.setdefault(path, Lines()).add(lines)
        self.source = other.source or self.source

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        files = {
            name: {
                "lines": {str(line): lines.counts[line] for line in sorted(lines.counts)},
                "functions": sorted([f.first, f.last, f.name] for f in lines.functions),
            }
            for name, lines in sorted(self.files.items())
        }
        text = json.dumps({"source": self.source, "files": files}, indent=1)
        path.write_text(f"{text}\n")


def read(path: Path) -> Coverage:
    """What :meth:`Coverage.write` wrote.

    :raises HarnessError: it is something else.
    """
    try:
        found = json.loads(path.read_text())
        files = {
            str(name): Lines(
                Counter({int(line): int(count) for line, count in lines["lines"].items()}),
                {Function(str(n), int(a), int(b)) for a, b, n in lines["functions"]},
            )
            for name, lines in found["files"].items()
        }
        return Coverage(files, str(found["source"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HarnessError(
            f"{path} is no coverage: name a coverage.json that vfio-hw coverage has written"
        ) from error


def told(document: Mapping[str, Any], source: Path) -> Coverage:
    """What gcov tells of one object in its intermediate format, of files of the source.

    Only of C files: a line of a header counts in every file that includes it, so its sum over some
    of them would say nothing.
    """
    coverage = Coverage(source=str(source))
    for entry in document["files"]:
        name = _relative(str(entry["file"]), str(document["current_working_directory"]), source)
        if name is None or not name.endswith(".c"):
            continue
        lines = coverage.files.setdefault(name, Lines())
        for line in entry["lines"]:
            lines.counts[int(line["line_number"])] += int(line["count"])
        lines.functions |= set(_functions(entry["functions"]))
    return coverage


def _functions(entries: Iterable[Mapping[str, Any]]) -> Iterable[Function]:
    for entry in entries:
        yield Function(str(entry["name"]), int(entry["start_line"]), int(entry["end_line"]))


def _relative(file: str, directory: str, source: Path) -> str | None:
    """The path in the source; None for a file that is not in it."""
    path = os.path.normpath(Path(directory, file))
    for root in (source, Path(directory)):
        # The compiler may have been told to leave the way to the source out of its names.
        inside = os.path.relpath(path, root)
        if not inside.startswith("..") and (source / inside).is_file():
            return inside
    return None
