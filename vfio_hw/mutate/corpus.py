"""A directory of mutants."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.mutate import mutant
from vfio_hw.mutate.mutant import Mutant

CORPUS = Path(__file__).parents[2] / "fixtures" / "mutants"


def read(directory: Path) -> tuple[list[Mutant], list[str]]:
    """The mutants of a corpus in the order of their files, and a sentence for each bad file.

    :raises HarnessError: there is no such directory, or no mutant in it.
    """
    paths = sorted(directory.glob("*.cocci"))
    if not paths:
        raise HarnessError(f"no mutant in {directory}: name a directory of .cocci files")
    found: list[Mutant] = []
    problems: list[str] = []
    for path in paths:
        try:
            found.append(mutant.read(path))
        except HarnessError as error:
            problems.append(str(error))
    times = Counter(each.id for each in found)
    for name in sorted(name for name, count in times.items() if count > 1):
        files = ", ".join(each.path.name for each in found if each.id == name)
        problems.append(f"{directory}: the id {name} stands in {files}: give each its own")
    return [each for each in found if times[each.id] == 1], problems


def chosen(mutants: Sequence[Mutant], ids: Sequence[str]) -> list[Mutant]:
    """Those of these ids, or all when none is given.

    :raises HarnessError: an id that no mutant has.
    """
    known = {each.id for each in mutants}
    if unknown := [name for name in ids if name not in known]:
        raise HarnessError(
            f"no mutant has the id {', '.join(unknown)}: see fixtures/mutants, or name --corpus"
        )
    return [each for each in mutants if not ids or each.id in ids]
