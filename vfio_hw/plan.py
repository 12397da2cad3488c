"""Which tests a guest will run, as the host has found them, and the files it will read for it."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Plan:
    """Tests in the order in which they are to run; none when they could not be collected.

    ``promises`` are those of each test function, ``files`` all that Python has read to know.
    """

    tests: tuple[str, ...] = ()
    promises: dict[str, list[str]] | None = None
    files: tuple[str, ...] = ()

    def announced(self, left: Collection[str] | None) -> dict[str, Any]:
        """What a guest that was given this plan would say of its tests.

        :param left: those that it was told to run; None: all.
        """
        tests = [test for test in self.tests if left is None or test in left]
        return {"tests": tests, "promises": self.promises or {}}

    def write(self, path: Path) -> None:
        """Put it into a file for :func:`read`."""
        path.write_text(json.dumps(asdict(self)))


def read(path: Path) -> Plan:
    """The plan in a file."""
    data = json.loads(path.read_text())
    return Plan(tuple(data["tests"]), data["promises"], tuple(data["files"]))
