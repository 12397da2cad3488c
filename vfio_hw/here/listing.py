"""`vfio-hw list`: what is in this machine, and what of it could be tested."""

import argparse
import os
from collections.abc import Iterable, Iterator
from typing import Any

from vfio_hw.here.as_json import as_json
from vfio_hw.host.pci import KINDS
from vfio_hw.host.safety import Safety
from vfio_hw.host.text import printable
from vfio_hw.host.tree import Listed, functions, group_type, listed, mdev_parents, other_members


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``list``."""
    parser = commands.add_parser(
        "list",
        help="the devices of this machine, and what of them could be tested",
        description="Shows the PCI functions of this machine by IOMMU group, their drivers, whether"
        " they could be tested and why not, and the mediated devices. Changes nothing, and claims"
        " no disk; as root it sees more: what is open in other users' processes, and what is on the"
        " disks.",
        epilog="Exit status: 0, also when nothing can be tested.",
    )
    parser.add_argument("--json", action="store_true", help="for a program")
    parser.set_defaults(function=run)


def run(args: argparse.Namespace) -> int:
    """Show it."""
    safety = Safety(claim=False)
    found = [listed(function, safety) for function in functions()]
    parents, others = mdev_parents(), other_members()
    if args.json:
        print(as_json(_whole(found, parents, others)))
        return 0
    for line in lines(found, others):
        print(printable(line))
    for parent in parents:
        print(printable(f"mdev parent {parent['parent']}"))
        for kind in parent["types"]:
            text = f"  {kind['id']}  {kind['name']}, {kind['device_api']}"
            print(printable(f"{text}, {kind['available_instances']} more can be made"))
            for instance in kind["instances"]:
                print(printable(f"    {instance['uuid']}  IOMMU group {instance['group']}"))
    for line in _conclusion([each.function.address for each in found if not each.obstacles], found):
        print(line)
    return 0


def _whole(
    found: list[Listed], parents: list[dict[str, Any]], others: dict[int, list[str]]
) -> dict[str, Any]:
    """All of it, for a program; what is in no group is in the functions only."""
    functions_of: dict[int, list[str]] = {}
    for each in found:
        if each.group is not None:
            functions_of.setdefault(each.group, []).append(each.function.address)
    return {
        "kinds": {kind: f"{vendor:04x}:{device:04x}" for kind, (vendor, device) in KINDS.items()},
        "functions": [each.as_json() for each in found],
        "groups": [
            {
                "group": number,
                "type": group_type(number),
                "functions": functions_of.get(number, []),
                "others": others.get(number, []),
            }
            for number in sorted({*functions_of, *others})
        ],
        "mdev_parents": parents,
        "all_seen": os.geteuid() == 0,
    }


def _conclusion(free: list[str], found: list[Listed]) -> Iterator[str]:
    """What a person does next."""
    if free:
        root = "" if os.geteuid() == 0 else ", those that root has bound (vfio-hw bind)"
        how = f"vfio-hw run --here --device {free[0]}"
        yield f"{len(free)} of {len(found)} functions can be tested{root}: {how}"
    else:
        yield (
            f"none of {len(found)} functions can be tested here: scripts/run tests emulated ones in"
            " a guest"
        )
    if os.geteuid() != 0:
        yield f"user {os.geteuid()} does not see all that root would: processes of others, disks"


def lines(found: Iterable[Listed], others: dict[int, list[str]]) -> list[str]:
    """The tree: a line for each group, for each function in it, and for each obstacle."""
    by_group: dict[int | None, list[Listed]] = {}
    for each in found:
        by_group.setdefault(each.group, []).append(each)
    for other in others:
        by_group.setdefault(other, [])
    text: list[str] = []
    for number in sorted(by_group, key=lambda number: (number is None, number)):
        if number is None:
            text.append("no IOMMU group")
        else:
            text.append(f"IOMMU group {number} ({group_type(number) or 'type unknown'})")
        for each in by_group[number]:
            text.append(_line(each))
            text += [f"      not: {obstacle}" for obstacle in each.obstacles]
        text += [f"  {name}" for name in others.get(-1 if number is None else number, [])]
    return text


def _line(each: Listed) -> str:
    function = each.function
    kind = function.kind or _CLASSES.get(function.class_code >> 16, "other")
    ids = f"{function.vendor:04x}:{function.device:04x}"
    override = f", driver_override {each.override}" if each.override else ""
    verdict = "" if each.obstacles else "  can be tested"
    driver = f"driver {each.driver}" if each.driver else "no driver"
    return f"  {function.address}  {ids}  {kind:<8}  {driver}{override}{verdict}"


# Source: linux/pci_ids.h, the base classes.
_CLASSES = {
    0x01: "storage",
    0x02: "network",
    0x03: "display",
    0x04: "sound",
    0x05: "memory",
    0x06: "bridge",
    0x07: "serial",
    0x0C: "bus",
    0x12: "compute",
}
