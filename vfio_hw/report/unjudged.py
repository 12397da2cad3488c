"""Why nobody judges an item of the headers: fixtures/unjudged.toml.

Tables ``[[unjudged]]`` with ``why``, a reason that is no fault of ours, and ``items``, whole names.
"""

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
    try:
        entries = [
            (str(name), str(entry["why"]))
            for entry in tomllib.loads(path.read_text())["unjudged"]
            for name in entry["items"]
        ]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise HarnessError(f"{path}: no list of what nobody judges: {error!r}") from None
    for name, why in entries:
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
