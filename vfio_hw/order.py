"""Which tests run in which order: those first in which a bug of a known promise shows soonest."""

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from vfio_hw.affinity import affinities
from vfio_hw.report.known import Known, matches

# The words by which tests name kinds of devices and ways to open them, in fixtures and parameters.
KINDS = ("mtty", "mdpy", "mbochs", "edu", "e1000e", "nvme")
_DEVICES = frozenset(KINDS)
_TYPE1 = {"vfio_type1_iommu", "vfio_type1v2_iommu"}
_NOIOMMU = {"vfio_noiommu_iommu", "iommufd_compat_noiommu"}
_IOMMUFD = {"iommufd_compat_type1", "iommufd_compat_type1v2", "iommufd"}
_WAYS = frozenset({*_TYPE1, *_IOMMUFD, *_NOIOMMU, "group", "cdev"})
_REPEATED = _DEVICES | _WAYS
# Fixtures that do not name the kind of their device.
_OF_A_KIND = {"two_of_a_group": "edu", "free_physical": "nvme"}
_PROMISED = 3.0  # the promise says as much as a word that one test of forty has


@dataclass(frozen=True)
class Order:
    """What comes first: these tests, then those on one of these devices, opened in these ways.

    Of the latter every test has its turn on one device, opened in one mode, before any has its
    second; in each turn those come first whose names have most in common with what it is
    ``about``, and those of the promise. What matches ``last``, names in which ``*`` stands for
    anything, comes last.
    """

    tests: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    promise: str = ""
    devices: tuple[str, ...] = ()
    ways: tuple[str, ...] = ()
    races: bool = False
    about: str = ""

    def write(self, path: Path) -> None:
        """Put it into a file for :func:`read`."""
        path.write_text(json.dumps(asdict(self)))


def read(path: Path) -> Order:
    """The order in a file."""
    data = json.loads(path.read_text())
    return Order(
        tests=tuple(data["tests"]),
        last=tuple(data["last"]),
        promise=data["promise"],
        about=data["about"],
        devices=tuple(data["devices"]),
        ways=tuple(data["ways"]),
        races=data["races"],
    )


def ordered(items: Sequence[pytest.Item], order: Order) -> list[pytest.Item]:
    """The same tests, in that order."""
    places = {test: place for place, test in enumerate(order.tests)}
    turns: Counter[tuple[object, str, bool]] = Counter()
    weights = affinities({function_of(item.nodeid) for item in items}, order.about)

    def rank(item: pytest.Item) -> tuple[bool, int, bool, int, float, bool]:
        words = _words(item)
        elsewhere = not (
            _agrees(words & _DEVICES, order.devices) and _agrees(words & _WAYS, order.ways)
        )
        variant = (getattr(item, "function", item), _about(item), elsewhere)
        turn = turns[variant]
        turns[variant] += 1
        fitting = weights[function_of(item.nodeid)]
        fitting += _PROMISED if order.promise in promises(item) else 0.0
        race = "race" in item.path.parts[-2:-1]
        late = any(matches(item.nodeid, pattern) for pattern in order.last)
        place = places.get(item.nodeid, len(places))
        return late, place, elsewhere, turn, -fitting, race != order.races

    ranks = {item.nodeid: rank(item) for item in items}
    return sorted(items, key=lambda item: ranks[item.nodeid])


def known_last(
    items: Sequence[pytest.Item], release: str, finds: Sequence[Known]
) -> list[pytest.Item]:
    """The same tests, those last that may show a known find on a kernel of this release.

    A kernel that has shown one is often not to be trusted any more: what is left then needs another
    guest, and is best not the whole suite.
    """
    return sorted(items, key=lambda item: known_to_fail(item, release, finds))


def known_to_fail(item: pytest.Item, release: str, finds: Sequence[Known]) -> bool:
    """Whether a test may show a known find on a kernel of this release."""
    return any(find.concerns(item.nodeid, release) for find in finds)


def sampled(items: Sequence[pytest.Item], seed: int) -> list[pytest.Item]:
    """Each test function once, with parameters that are drawn by the seed."""
    functions: dict[str, list[pytest.Item]] = {}
    for item in items:
        functions.setdefault(function_of(item.nodeid), []).append(item)
    draw = random.Random(seed)
    return [draw.choice(of) for of in functions.values()]


def for_machine(items: Sequence[pytest.Item], name: str) -> list[pytest.Item]:
    """Those that are not for another machine; all, to tell why they skip, when all are for another.

    :param name: of the machine, from fixtures/machines.
    """
    wanted = [
        (item, {str(n) for mark in item.iter_markers("machine") for n in mark.args})
        for item in items
    ]
    return [item for item, names in wanted if not names or name in names] or list(items)


def promises(item: pytest.Item) -> set[str]:
    """The promises that a test says it defends."""
    return {str(name) for mark in item.iter_markers("promise") for name in mark.args}


def promises_of(items: Sequence[pytest.Item]) -> dict[str, list[str]]:
    """The promises of each test function, by its name without parameters."""
    return {function_of(item.nodeid): sorted(promises(item)) for item in items}


def kinds(item: pytest.Item) -> list[str]:
    """The kinds of devices that a test uses, by its fixtures (``free_e1000e``) and parameters."""
    used = _words(item)
    words = {part for word in used for part in word.split("_")}
    words |= {kind for fixture, kind in _OF_A_KIND.items() if fixture in used}
    return [kind for kind in KINDS if kind in words]


def function_of(test: str) -> str:
    """The name of a test without its parameters."""
    return test.partition("[")[0]


def _words(item: pytest.Item) -> set[str]:
    """The names of an item's fixtures, and its parameters."""
    words = set(getattr(item, "fixturenames", ()))
    callspec = getattr(item, "callspec", None)
    values = callspec.params.values() if callspec else ()
    return words | {value for value in values if isinstance(value, str)}


def _about(item: pytest.Item) -> str:
    """What a test is about besides a device and a way to open it: its other parameters."""
    callspec = getattr(item, "callspec", None)
    params = callspec.params if callspec else {}
    return repr([v for v in params.values() if not (isinstance(v, str) and v in _REPEATED)])


def _agrees(used: set[str], wanted: Sequence[str]) -> bool:
    """Whether what a test uses is wanted; so is a test that uses nothing of the kind."""
    return not used or not wanted or not used.isdisjoint(wanted)
