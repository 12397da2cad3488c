"""Compares the declarations with the headers of a kernel, as ``make headers`` leaves them.

Newer headers may add names and older ones lack some; none may say anything else of a name.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.uapi.builder import c_text
from vfio_hw.uapi.facts import Facts, facts

_HEADERS = ("linux/vfio.h", "linux/vfio_zdev.h", "linux/iommufd.h", "linux/kvm.h")


@dataclass(frozen=True)
class HeaderReport:
    """Sentences of what differs, names that the kernel's headers lack, names that they add."""

    differences: list[str]
    missing: list[str]
    new: list[str]

    def __str__(self) -> str:
        """Each kind with its number, then one line for each of it."""
        kinds = {"differences": self.differences, "missing": self.missing, "new": self.new}
        return "\n".join(
            "\n    ".join([f"{kind}: {len(lines)}", *lines]) for kind, lines in kinds.items()
        )


def check(headers: Path, *, strict: bool = False) -> HeaderReport:
    """Compare every size, offset and value; ``headers`` is what holds ``include/linux/vfio.h``.

    :param strict: a name that the headers lack is a difference too.
    :raises HarnessError: no such headers, or they do not compile.
    """
    include = headers / "include"
    if not (include / _HEADERS[0]).is_file():
        raise HarnessError(
            f"checking the declarations against {headers} found no include/linux/vfio.h there: "
            "give the directory usr of a kernel tree in which make headers has run"
        )
    # The system's own header must not stand in for one that this kernel lacks.
    there = [name for name in _HEADERS if (include / name).is_file()]
    theirs = facts("".join(f"#include <{name}>\n" for name in there), include)
    return compare(facts(c_text()), theirs, strict=strict)


def compare(ours: Facts, theirs: Facts, *, strict: bool = False) -> HeaderReport:
    """Compare two headers.

    A struct that only lacks members of ours is an older one, and one that has more but neither
    grew nor moved a member is a newer one: those members are names missing or new. Any other
    struct that is not ours is a difference.
    """
    missing, new = _only_in(ours, theirs), _only_in(theirs, ours)
    differences = list(_constants(ours, theirs))
    for name in ours.sizes.keys() & theirs.sizes.keys():
        lacking, added = _members_only_in(ours, theirs, name), _members_only_in(theirs, ours, name)
        size, other = ours.sizes[name], theirs.sizes[name]
        older, newer = bool(lacking) and not added, bool(added) and not lacking
        if other != size and not (older and other < size):
            differences.append(f"struct {name} is {_against(f'{size} bytes', str(other))}")
        missing += lacking if older else []
        new += added if newer and other == size else []
        if lacking and added:
            differences += [f"{member} is only in our declarations" for member in lacking]
        if (lacking and added) or other != size:
            differences += [f"{member} is only in theirs" for member in added]
        differences += _moved(ours, theirs, name)
    if strict:
        differences += [f"{name} is only in our declarations" for name in missing]
    return HeaderReport(sorted(differences), sorted(missing), sorted(new))


def _against(ours: str, theirs: str) -> str:
    return f"{ours} in our declarations and {theirs} in theirs"


def _only_in(one: Facts, other: Facts) -> list[str]:
    structs = [f"struct {name}" for name in one.sizes.keys() - other.sizes.keys()]
    return [*(one.constants.keys() - other.constants.keys()), *structs]


def _members_only_in(one: Facts, other: Facts, struct: str) -> list[str]:
    names = one.members.get(struct, {}).keys() - other.members.get(struct, {}).keys()
    return [f"struct {struct}.{name}" for name in names]


def _constants(ours: Facts, theirs: Facts) -> Iterator[str]:
    for name, value in ours.constants.items():
        other = theirs.constants.get(name, value)
        if other != value:
            yield f"{name} is {_against(value, other)}"


def _moved(ours: Facts, theirs: Facts, struct: str) -> Iterator[str]:
    their_members = theirs.members.get(struct, {})
    for name, member in ours.members.get(struct, {}).items():
        other = their_members.get(name, member)
        if other != member:
            yield f"struct {struct}.{name} is {_against(str(member), str(other))}"


def main() -> int:
    """Print the comparison; status 1 when something differs or the headers are unusable."""
    parser = argparse.ArgumentParser(prog="vfio_hw.uapi.headercheck", description=__doc__)
    parser.add_argument("headers", type=Path, help="what holds include/linux/vfio.h")
    parser.add_argument("--strict", action="store_true", help="their lacking a name is a failure")
    options = parser.parse_args()
    try:
        report = check(options.headers, strict=options.strict)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 1
    print(report)
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
