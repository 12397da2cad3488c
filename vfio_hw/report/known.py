"""Known finds: faults of unmodified kernels that were found here, told apart from new ones.

One file ``fixtures/known/NAME.toml`` each, with its page in ``docs/finds/NAME.md``:

* ``tests``: names as in the record, ``*`` standing for anything;
* ``says``: words in the text of the failure, one of which is there;
* ``kernels``: beginnings of the releases on which it was seen, or whose source has it unchanged;
* ``fatal``: those among them, by their beginnings too, that it kills. There it excuses a panic
  too, when every splat that the console has is titled with one of the words that it says; never a
  panic without a splat;
* ``hangs``: words that are said of a hang: one of them is in its report, and each fault that was
  found beside it has one of these or of ``says``; a find without them excuses no hang;
* ``corrupts``: true where memory is used that may be another's: of a panic the first splat has to
  be titled with one of the words, and what came after it is not to be foreseen;
* ``needs``: the option, such as ``CONFIG_KASAN``, without which a kernel does not show it. Where
  the kernel has it not, or its configuration is not known, a test that passes tells nothing;
* ``chance``: true where it takes luck to see it. There too a test that passes tells nothing.
"""

import fnmatch
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.report.events import Result

PROJECT = Path(__file__).parents[2]

# How what an oracle has to say begins, and the option without which it does not say it.
_SEEN = {
    "WARNING": "",
    "BUG": "",
    "kernel BUG": "",
    "general protection fault": "",
    "NULL pointer dereference": "",
    "leaks: ": "",
    ": ": "",  # of a leak what follows the name of the device
    "KASAN": "CONFIG_KASAN",
    "UBSAN": "CONFIG_UBSAN",
    "kmemleak": "CONFIG_DEBUG_KMEMLEAK",
}
# What a result's oracle says when the guest died.
FATAL = ("panic", "hang", "exit")


@dataclass(frozen=True)
class Known:
    """One fault that is known."""

    name: str
    tests: tuple[str, ...]
    says: tuple[str, ...]
    kernels: tuple[str, ...]
    fatal: tuple[str, ...] = ()
    hangs: tuple[str, ...] = ()
    needs: str = ""
    chance: bool = False
    corrupts: bool = False

    def concerns(self, test: str, release: str) -> bool:
        """Whether the test shows it on a kernel of this release."""
        return _of_series(release, self.kernels) and any(
            matches(test, pattern) for pattern in self.tests
        )

    def explains(self, result: Result, release: str) -> bool:
        """Whether the failure is this fault and not another one."""
        # Each fault that was found has to be this one: a known warning excuses no leak beside it.
        # Without a splat, the text of a death is the end of the console, which may say anything.
        died = result.oracle in FATAL
        faults = result.findings or ([] if died else [result.text])
        kills = result.oracle == "panic" and bool(faults) and _of_series(release, self.fatal)
        hangs = result.oracle == "hang" and any(words in result.text for words in self.hangs)
        said = (*self.says, *self.hangs) if hangs else self.says
        return (
            result.verdict == "failed"
            and (not died or kills or hangs)
            and self.concerns(result.test, release)
            and all(
                any(words in fault for words in said)
                for fault in (faults[:1] if kills and self.corrupts else faults)
            )
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


def killer(test: str, release: str, finds: Iterable[Known]) -> Known | None:
    """The find that may take a kernel of this release down when this test runs."""
    fatal = (find for find in finds if _of_series(release, find.fatal))
    return next((find for find in fatal if find.concerns(test, release)), None)


def spoiler(
    test: str, release: str, finds: Iterable[Known], options: Collection[str]
) -> Known | None:
    """The find with which a kernel of this release would be given no test after this one.

    An oracle sees it, not the test: a fault in the kernel's log, or what is left.

    :param options: those that its configuration sets; none when it is not known.
    """
    for find in finds:
        seen = any(
            words.startswith(beginning) and (not option or option in options)
            for words in find.says
            for beginning, option in _SEEN.items()
        )
        shown = not find.needs or find.needs in options
        if seen and shown and find.concerns(test, release):
            return find
    return None


def vanished(
    results: Sequence[Result], release: str, finds: Iterable[Known], options: Collection[str]
) -> list[str]:
    """The names of finds that this kernel would show, whose tests ran, and all passed.

    :param options: those that its configuration sets; none when it is not known.
    """
    return [
        find.name
        for find in finds
        if not find.chance
        and (not find.needs or find.needs in options)
        and (verdicts := [r.verdict for r in results if find.concerns(r.test, release)])
        and set(verdicts) == {"passed"}
    ]


def _of_series(release: str, series: Iterable[str]) -> bool:
    return any(release == one or release.startswith((f"{one}.", f"{one}-")) for one in series)


def matches(test: str, pattern: str) -> bool:
    """Whether the name of a test is that of the pattern, in which ``*`` stands for anything."""
    # Square brackets stand for themselves: they are part of a test's name.
    return fnmatch.fnmatchcase(test, pattern.replace("[", "[[]"))


def _read(path: Path) -> Known:
    page = path.parents[2] / "docs" / "finds" / f"{path.stem}.md"
    try:
        data = tomllib.loads(path.read_text())
        lists = {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
        find = Known(path.stem, **(data | lists))
        if not isinstance(find.fatal, tuple):
            raise TypeError("fatal is a list of kernels")
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise HarnessError(f"{path}: not the description of a known find: {error!r}") from None
    if not page.exists():
        raise HarnessError(f"{path} has no page: describe the find in {page}")
    return find
