"""A directory of mutants."""

from collections.abc import Sequence
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.mutate import mutant
from vfio_hw.mutate.mutant import Mutant

CORPUS = Path(__file__).parents[2] / "fixtures" / "mutants"


def read(directory: Path) -> tuple[list[Mutant], dict[str, str]]:
    """The mutants of a corpus in the order of their files, and a sentence for each bad file.

    The sentences go by the name of the file without suffix, which is the id a mutant should have.

    :raises HarnessError: there is no such directory, or no mutant in it.
    """
    if not directory.is_dir():
        raise HarnessError(f"{directory} is no directory: name one of .cocci files")
    paths = sorted(directory.glob("*.cocci"))
    if not paths:
        raise HarnessError(f"no mutant in {directory}: name a directory of .cocci files")
    found: list[Mutant] = []
    problems: dict[str, str] = {}
    for path in paths:
        try:
            found.append(mutant.read(path))
        except HarnessError as error:
            problems[path.stem] = str(error)
    return found, problems


def chosen(directory: Path, ids: Sequence[str]) -> tuple[list[Mutant], list[str]]:
    """The mutants of these ids, or all when none is given, and what is wrong with the files.

    :raises HarnessError: no such directory, no mutant in it, or an id that none has.
    """
    mutants, problems = read(directory)
    known = {each.id for each in mutants} | problems.keys()
    if unknown := [name for name in ids if name not in known]:
        raise HarnessError(
            f"no mutant in {directory} has the id {', '.join(unknown)}: give the name of a file"
            " there without .cocci; tests are named after --"
        )
    return (
        [each for each in mutants if not ids or each.id in ids],
        [text for name, text in problems.items() if not ids or name in ids],
    )
