"""Guest topologies: which emulated machine, IOMMU and devices a guest has."""

import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vfio_hw.errors import HarnessError

_DIRECTORY = Path(__file__).parents[2] / "fixtures" / "machines"


@dataclass(frozen=True)
class Shown:
    """What a kernel has to show of a machine, with devices by QEMU's words for them.

    ``iommu``: what is in front of all of ``groups``, the devices of each IOMMU group; a device
    whose word is in none of them is not asked for. ``unguarded``: devices without an IOMMU.
    """

    iommu: str = ""
    groups: Sequence[Sequence[str]] = ()
    unguarded: Sequence[str] = ()
    #: How many a function of this kind may have; how many functions of this kind have ATS.
    virtual_functions: Mapping[str, int] = field(default_factory=dict)
    ats: Mapping[str, int] = field(default_factory=dict)

    @property
    def devices(self) -> Counter[str]:
        """How many there are of each kind of device."""
        return Counter([*self.unguarded, *(each for group in self.groups for each in group)])


@dataclass(frozen=True)
class Topology:
    """One guest machine, in QEMU's own words.

    ``globals``: properties of devices that the machine has by itself, as ``-global`` takes them;
    ``reports_faults``: its IOMMU tells the kernel of what it does not let through.
    """

    name: str
    description: str
    machine: str
    devices: tuple[str, ...]
    kernel_parameters: tuple[str, ...]
    shows: Shown
    #: KiB of each image, by the name that a device's ``drive=`` or ``memdev=`` has; empty at first.
    disks: Mapping[str, int] = field(default_factory=dict)
    memories: Mapping[str, int] = field(default_factory=dict)
    reports_faults: bool = True
    globals: tuple[str, ...] = ()


def topologies() -> list[str]:
    """The names that :func:`topology` takes."""
    return sorted(path.stem for path in _DIRECTORY.glob("*.toml"))


def topology(name: str) -> Topology:
    """The topology of ``fixtures/machines/NAME.toml``.

    :raises HarnessError: an unknown name, or a file that says too little.
    """
    if name not in topologies():
        raise HarnessError(f"no machine named {name!r}: there is {', '.join(topologies())}")
    path = _DIRECTORY / f"{name}.toml"
    try:
        data = tomllib.loads(path.read_text())
        return Topology(
            name=name,
            description=data["description"],
            machine=data["machine"],
            devices=tuple(data["devices"]),
            kernel_parameters=tuple(data.get("kernel_parameters", ())),
            shows=Shown(**data["shows"]),
            disks={str(name): int(size) for name, size in data.get("disks", {}).items()},
            memories={str(name): int(size) for name, size in data.get("memories", {}).items()},
            globals=tuple(data.get("globals", ())),
            reports_faults=bool(data.get("reports_faults", True)),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise HarnessError(f"{path}: not a machine description: {error!r}") from None
