"""Known finds: faults of unmodified kernels that were found here, told apart from new ones.

One file ``fixtures/known/NAME.toml`` each, with its page in ``docs/finds/NAME.md``:

* ``tests``: names as in the record, ``*`` standing for anything;
* ``says``: words in the text of the failure, one of which is there;
* ``kernels``: beginnings of the releases on which it was seen.
"""

import fnmatch
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.report.events import Result

PROJECT = Path(__file__).parents[2]

# What a result's oracle says when the guest died.
FATAL = ("panic", "hang", "exit")


@dataclass(frozen=True)
class Known:
    """One fault that is known."""

    name: str
    tests: tuple[str, ...]
    says: tuple[str, ...]
    kernels: tuple[str, ...]

    def concerns(self, test: str, release: str) -> bool:
        """Whether the test shows it on a kernel of this release."""
        return any(_of_series(release, kernel) for kernel in self.kernels) and any(
            matches(test, pattern) for pattern in self.tests
        )

    def explains(self, result: Result, release: str) -> bool:
        """Whether the failure is this fault and not another one."""
        # Each fault that was found has to be this one: a known warning excuses no leak beside it,
        # and not the death of the guest.
        faults = result.findings or [result.text]
        return (
            result.verdict == "failed"
            and result.oracle not in FATAL
            and self.concerns(result.test, release)
            and all(any(words in fault for words in self.says) for fault in faults)
        )


def known_finds(directory: Path = PROJECT / "fixtures" / "known") -> list[Known]:
    """All of them.

    :raises HarnessError: a file that can not be read, or without its page.
    """
    return [_read(path) for path in sorted(directory.glob("*.toml"))]


def judged(result: Result, release: str, finds: Iterable[Known]) -> Result:
    """The result, its verdict ``known`` in place of ``failed`` when a known find explains it."""
    for find in finds:
        if find.explains(result, release):
            return replace(
                result, verdict="known", properties={**result.properties, "find": find.name}
            )
    return result


def vanished(results: Sequence[Result], release: str, finds: Iterable[Known]) -> list[str]:
    """The names of finds of this kernel whose tests ran, and all passed."""
    return [
        find.name
        for find in finds
        if (verdicts := [r.verdict for r in results if find.concerns(r.test, release)])
        and set(verdicts) == {"passed"}
    ]


def _of_series(release: str, series: str) -> bool:
    return release == series or release.startswith((f"{series}.", f"{series}-"))


def matches(test: str, pattern: str) -> bool:
    """Whether the name of a test is that of the pattern, in which ``*`` stands for anything."""
    # Square brackets stand for themselves: they are part of a test's name.
    return fnmatch.fnmatchcase(test, pattern.replace("[", "[[]"))


def _read(path: Path) -> Known:
    page = path.parents[2] / "docs" / "finds" / f"{path.stem}.md"
    try:
        data = tomllib.loads(path.read_text())
        lists = (tuple(data[key]) for key in ("tests", "says", "kernels"))
        find = Known(path.stem, *lists)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise HarnessError(f"{path}: not the description of a known find: {error!r}") from None
    if not page.exists():
        raise HarnessError(f"{path} has no page: describe the find in {page}")
    return find
