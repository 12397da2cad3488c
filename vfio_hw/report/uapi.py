"""The page docs/uapi.md: every item of the headers, and on which devices it is judged, and how."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.order import KINDS
from vfio_hw.report.events import EventLog
from vfio_hw.uapi.items import Section

#: Who judges an item: the letters of how, by the kind of device. On which of several devices a call
#: was made is not on record, so tests that use more than one kind are ``several``.
Judged = Mapping[str, Mapping[str, str]]

_COLUMNS = (*KINDS, "several", "none")
_LETTERS = {"positive": "P", "refused": "R", "raced": "C"}

_ROW = re.compile(r"\| `([^`]+)` \|")

_HEAD = """\
# The uAPI, and what of it is judged

Made by `vfio-hw uapi RESULTS...` from the record of a run and from our declarations of
linux/vfio.h, linux/vfio_zdev.h, linux/iommufd.h and of what linux/kvm.h has for VFIO; not written
by hand. A letter stands for calls that a test really made, and that passed:

* **P** positive: a call that has to do with the item succeeded;
* **R** refused: one came back with an errno;
* **C** contended: one met, in a race, another call or the removal of the device.

The letters tell which calls were made, not how much of an answer a test looked at. A capability or
a region type is positive where a device shows it. Under `several` are the tests that use devices of
several kinds, under `none` those that use none, or one of another kind. What a forked child or the
set-up of a race calls is not counted.
"""


def gathered(directories: Iterable[Path]) -> Judged:
    """What the tests of these runs that passed have judged together.

    :raises HarnessError: one of them has no record, or they judge nothing.
    """
    letters: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for directory in directories:
        path = directory / "events.jsonl"
        if not path.is_file():
            raise HarnessError(f"{path} is not there: name a directory of vfio-hw run")
        for result in EventLog(path).results():
            if result.verdict != "passed" or not result.judged:
                continue
            for outcome, letter in _LETTERS.items():
                for item in result.judged.get(outcome, ()):
                    letters[item][_column(result.judged["kinds"])].add(letter)
    if not letters:
        raise HarnessError(f"{path} tells of no test that judged anything: run the tests anew")
    return {
        item: {kind: "".join(c for c in _LETTERS.values() if c in of) for kind, of in by.items()}
        for item, by in letters.items()
    }


def with_met(judged: Judged, page: Iterable[str]) -> Judged:
    """The same, and what a page says was contended.

    In a race of seconds not every call meets another every time.
    """
    met = {item: dict(of) for item, of in judged.items()}
    for line in page:
        if row := _ROW.match(line):
            cells = [cell.strip() for cell in line.strip("| ").split("|")][1:]
            for kind, cell in zip(_COLUMNS, cells, strict=False):
                if "C" in cell and "C" not in met.get(row[1], {}).get(kind, ""):
                    of = met.setdefault(row[1], {})
                    of[kind] = of.get(kind, "") + "C"
    return met


def _column(kinds: Sequence[str]) -> str:
    return "several" if len(kinds) > 1 else kinds[0] if kinds else "none"


def positive(judged: Judged) -> set[str]:
    """The items of which a call succeeded somewhere."""
    return {item for item, of in judged.items() if any("P" in letters for letters in of.values())}


def lines(
    items: Sequence[Section],
    judged: Judged,
    why: Mapping[str, str],
    refused: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """The page, line by line.

    :param why: by item, why nobody judges it.
    :param refused: by item, why it is judged by refusals only.
    """
    yield from _HEAD.splitlines()
    yield from _counts(items, judged, why)
    for section in items:
        yield from ("", f"## {section.title}", "")
        yield f"| | {' | '.join(_COLUMNS)} |"
        yield "|---" * (len(_COLUMNS) + 1) + "|"
        for name in section.items:
            cells = (judged.get(name, {}).get(kind, "") for kind in _COLUMNS)
            yield f"| `{name}` | {' | '.join(cells)} |"
    yield from _refused(items, judged, refused or {})
    yield from _nobody(items, judged, why)


def _counts(items: Sequence[Section], judged: Judged, why: Mapping[str, str]) -> Iterator[str]:
    for combined, what in ((False, "items of the headers"), (True, "combinations of them")):
        names = [name for each in items if each.combined == combined for name in each.items]
        open_ones = [name for name in names if name not in judged]
        excused = sum(name in why for name in open_ones)
        yield ""
        yield (
            f"{len(names)} {what}: {len(names) - len(open_ones)} judged, {excused} that can not be"
            f" judged here, {len(open_ones) - excused} that nobody judges yet."
        )
    yield from ("", "| | number | judged | P | R | C |", "|---|---|---|---|---|---|")
    for section in items:
        found = ["".join(judged[name].values()) for name in section.items if name in judged]
        how = (sum(letter in of for of in found) for letter in _LETTERS.values())
        numbers = (len(section.items), len(found), *how)
        yield f"| {section.title} | {' | '.join(map(str, numbers))} |"


def _refused(items: Sequence[Section], judged: Judged, why: Mapping[str, str]) -> Iterator[str]:
    succeeded = positive(judged)
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name in (name for section in items for name in section.items if name in judged):
        if name not in succeeded:
            by_reason[why.get(name, "for no reason that is known")].append(name)
    yield from ("", "## What is judged by its refusal only", "")
    yield from (f"* {reason}: {_code(names)}" for reason, names in by_reason.items())


def _nobody(items: Sequence[Section], judged: Judged, why: Mapping[str, str]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name in (name for section in items for name in section.items if name not in judged):
        by_reason[why.get(name, "")].append(name)
    yet = by_reason.pop("", [])
    yield from ("", "## What can not be judged here", "")
    yield from (f"* {reason}: {_code(names)}" for reason, names in by_reason.items())
    if yet:
        yield from ("", "## What nobody judges yet", "")
    for section in items:
        if names := [name for name in section.items if name in yet]:
            yield f"* {section.title}: {_code(names)}"


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
