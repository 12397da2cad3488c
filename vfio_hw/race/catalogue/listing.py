"""The catalogue in words."""

from vfio_hw.race.catalogue.disruptions import DISRUPTIONS
from vfio_hw.race.catalogue.entry import Disruption, Entry
from vfio_hw.race.catalogue.pairs import OPERATIONS, Pair


def everything() -> str:
    """Every operation and disruption, with the kinds of devices that can."""
    lines = ["operations:", *map(_line, OPERATIONS), "disruptions:", *map(_line, DISRUPTIONS)]
    return "\n".join(lines)


def of(pair: Pair) -> str:
    """What may come of a pair, and why."""
    lines = [f"{pair.name}, in the scene {pair.scene}"]
    for entry, effects in pair.meetings:
        lines.append(f"{entry.name}:")
        for each in entry.holding(pair.kind, pair.scene, effects):
            when = f" when {each.under}" if each.under else ""
            lines.append(f"    {' or '.join(sorted(each.outcomes))}{when}: {each.reason}")
    return "\n".join(lines)


def _line(entry: Entry) -> str:
    machine = entry.machine if isinstance(entry, Disruption) else ""
    where = f" on the machine {machine}" if machine else ""
    return f"    {entry.name:40} {' '.join(entry.kinds)}{where}"
