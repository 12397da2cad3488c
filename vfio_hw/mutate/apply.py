"""Puts a mutant into the text of its source file, by means of Coccinelle."""

import difflib
import tempfile
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.mutate.mutant import Mutant
from vfio_hw.vm.kernels import tools

_SECONDS = 120.0
# Some versions of spatch take it for a failure that there is nothing to write.
_NO_MATCH = "no modified files"


def ready() -> None:
    """See that patches can be applied here.

    :raises HarnessError: Coccinelle is not installed.
    """
    tools.require([("spatch", "coccinelle")], "putting bugs into a kernel")


def applied(mutant: Mutant, source: Path) -> str:
    """The text of the mutant's file in a kernel's source, changed.

    :raises HarnessError: no Coccinelle; no such file; a patch that can not be parsed, matches
        nothing, changes another number of places than it says, or more within one of them.
    """
    ready()
    original = source / mutant.file
    if not original.is_file():
        raise HarnessError(f"{mutant.id}: {source.name} has no {mutant.file}: correct its 'file'")
    with tempfile.TemporaryDirectory(prefix="vfio-hw-") as directory:
        changed = Path(directory) / original.name
        command: list[str | Path] = ["spatch", "--very-quiet", "--no-show-diff"]
        command += ["--sp-file", mutant.path, original, "-o", changed]
        try:
            tools.run(command, f"{mutant.id}: reading {mutant.path.name}", timeout=_SECONDS)
        except HarnessError as error:
            if _NO_MATCH not in str(error):
                raise HarnessError(
                    f"{error} (it was to change {mutant.file}): correct the patch"
                ) from error
        before = original.read_text()
        after = changed.read_text() if changed.exists() else before
    places = changed_places(before, after)
    if not places:
        raise HarnessError(
            f"{mutant.id}: its patch matches nothing in {mutant.file} of {source.name}:"
            " make it fit this kernel"
        )
    if len(places) != mutant.changes:
        lines = ", ".join(map(str, places))
        raise HarnessError(
            f"{mutant.id}: its patch changes {len(places)} places of {mutant.file} (lines {lines}),"
            f" {mutant.changes} expected: make the pattern narrower, or correct 'changes'"
        )
    most, removed = _most(mutant), removed_statements(before, after)
    if most is not None and removed > most:
        lines = ", ".join(map(str, places))
        raise HarnessError(
            f"{mutant.id}: its patch removes {removed} statements of {mutant.file} (lines {lines}),"
            f" {most} at most expected, so it matches twice in one place: make the pattern narrower"
        )
    return after


def difference(mutant: Mutant, source: Path) -> str:
    """What the patch changes in the mutant's file, as a unified diff.

    :raises HarnessError: as :func:`applied`.
    """
    after = applied(mutant, source)
    lines = difflib.unified_diff(
        (source / mutant.file).read_text().splitlines(),
        after.splitlines(),
        f"a/{mutant.file}",
        f"b/{mutant.file}",
        lineterm="",
    )
    return "\n".join(lines)


def _most(mutant: Mutant) -> int | None:
    """How many statements the patch may remove; None when it does not say, as with ``- ...``."""
    own = [line for line in mutant.path.read_text().splitlines() if line.startswith("-")]
    if any("..." in line for line in own):
        return None
    # Where it removes parts of statements only, each line is of one.
    return mutant.changes * (sum(line.count(";") for line in own) or len(own) or 1)


def removed_statements(before: str, after: str) -> int:
    """How many statements of ``before`` are not in ``after``, or not as they were."""
    old, new = before.splitlines(), after.splitlines()
    codes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    gone = (line for tag, begin, end, _, _ in codes if tag != "equal" for line in old[begin:end])
    return sum(line.count(";") for line in gone)


def changed_places(before: str, after: str) -> list[int]:
    """The line numbers in ``before`` at which each changed stretch begins."""
    old, new = before.splitlines(), after.splitlines()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    return [begin + 1 for tag, begin, _, _, _ in matcher.get_opcodes() if tag != "equal"]
