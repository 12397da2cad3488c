"""The machine as a tree by IOMMU group: functions and what speaks against taking them, mdevs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vfio_hw.errors import KernelSplat
from vfio_hw.host import mdev
from vfio_hw.host.pci import BUS, KINDS, PciFunction
from vfio_hw.host.safety import Refusal, Safety
from vfio_hw.host.sysfs import attribute, link_name, names_in


@dataclass(frozen=True)
class Listed:
    """One PCI function and what a person wants to know of it before a test takes it."""

    function: PciFunction
    group: int | None
    driver: str | None
    override: str | None
    refusals: tuple[Refusal, ...]

    @property
    def obstacles(self) -> list[str]:
        """Why no test would take it, a sentence each; none: it can be tested."""
        found = []
        if self.function.kind is None:
            found.append(f"no test knows its kind, only {', '.join(KINDS)}")
        if self.group is None:
            found.append("it has no IOMMU group: vfio-hw doctor says how to switch the IOMMU on")
        return found + [
            f"{'' if each.address == self.function.address else f'{each.address}: '}{each.reason}"
            f" [{each.rule}]: {each.remedy}"
            for each in self.refusals
        ]

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        return {
            "address": self.function.address,
            "vendor": f"{self.function.vendor:04x}",
            "device": f"{self.function.device:04x}",
            "class": f"{self.function.class_code:06x}",
            "kind": self.function.kind,
            "group": self.group,
            "driver": self.driver,
            "driver_override": self.override,
            "testable": not self.obstacles,
            "obstacles": self.obstacles,
            "refusals": [
                {
                    "address": each.address,
                    "rule": each.rule,
                    "reason": each.reason,
                    "remedy": each.remedy,
                }
                for each in self.refusals
            ],
        }


def listed(function: PciFunction, safety: Safety) -> Listed:
    """The function as it is now."""
    refusals, override = safety.refusals(function), None
    try:
        override = function.driver_override
    except KernelSplat as silent:
        refusals.append(Refusal(function.address, "silent", str(silent)))
    return Listed(function, function.iommu_group, function.driver, override, tuple(refusals))


def functions(bus: Path = BUS) -> list[PciFunction]:
    """Every PCI function in the order of its address."""
    return [PciFunction.at(name, bus) for name in names_in(bus / "devices")]


def mdev_parents() -> list[dict[str, Any]]:
    """The devices that offer mediated devices, their types, and the instances that there are."""
    parents: dict[str, dict[str, Any]] = {}
    for kind in mdev.types():
        parent = parents.setdefault(kind.parent, {"parent": kind.parent, "types": []})
        parent["types"].append(
            {
                "id": kind.id,
                "name": kind.name,
                "device_api": kind.device_api,
                "available_instances": kind.available_instances,
                "instances": [
                    {"uuid": uuid, "group": mdev.Mdev(uuid).iommu_group}
                    for uuid in names_in(kind.path / "devices")
                ],
            }
        )
    return list(parents.values())


def other_members() -> dict[int, list[str]]:
    """The devices of IOMMU groups that are no PCI functions, as "bus name", by group."""
    groups = Path("/sys/kernel/iommu_groups")
    found: dict[int, list[str]] = {}
    for number in names_in(groups):
        for name in names_in(groups / number / "devices"):
            bus = link_name(groups / number / "devices" / name / "subsystem") or "?"
            if bus != "pci":
                found.setdefault(int(number), []).append(f"{bus} {name}")
    return found


def group_type(number: int) -> str | None:
    """How the kernel translates for the group: DMA, identity, and so on."""
    return attribute(Path("/sys/kernel/iommu_groups") / str(number) / "type")
