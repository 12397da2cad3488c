"""Why nobody judges an item of the headers, or only its refusal: fixtures/unjudged.toml.

Tables ``[[unjudged]]``, and ``[[refused]]``, with ``why``, a reason that is no fault of ours, and
``items``, whole names, in which ``*`` stands for anything in the second.
"""

import fnmatch
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.report.known import PROJECT

FILE = PROJECT / "fixtures" / "unjudged.toml"


def reasons(path: Path, items: Collection[str], judged: Collection[str]) -> Mapping[str, str]:
    """By item the reason why nobody judges it.

    :raises HarnessError: the file can not be read, or an entry is of no item, of one that is judged
        after all, or there twice.
    """
    found: dict[str, str] = {}
    for name, why in _entries(path, "unjudged"):
        wrong = (
            "is no item of the headers"
            if name not in items
            else "is there twice"
            if name in found
            else "is judged after all"
            if name in judged
            else ""
        )
        if wrong:
            raise HarnessError(f"{path}: {name} {wrong}: take it out")
        found[name] = why
    return found


def refusals(path: Path, items: Collection[str], positive: Collection[str]) -> Mapping[str, str]:
    """By item the reason why nothing but its refusal can be judged.

    :raises HarnessError: the file can not be read, or an entry is of no item, of one of which a
        call succeeded after all, or of one that is there already.
    """
    found: dict[str, str] = {}
    for pattern, why in _entries(path, "refused"):
        names = fnmatch.filter(items, pattern)
        if not names:
            raise HarnessError(f"{path}: {pattern} is no item of the headers: take it out")
        for name in names:
            if name in found:
                raise HarnessError(f"{path}: {name} is there twice: take it out")
            if name in positive:
                raise HarnessError(f"{path}: {name} is judged positive after all: take it out")
            found[name] = why
    return found


def _entries(path: Path, table: str) -> list[tuple[str, str]]:
    """The names, or patterns, of these tables, each with its reason."""
    try:
        return [
            (str(name), str(entry["why"]))
            for entry in tomllib.loads(path.read_text())[table]
            for name in entry["items"]
        ]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise HarnessError(f"{path}: no list of what nobody judges: {error!r}") from None
