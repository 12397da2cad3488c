"""Who has a device open through VFIO: until they let it go it does not leave its driver."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from vfio_hw.host.descendants import descendants, node
from vfio_hw.host.openers import BY_KVM, Opening, openings
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.sysfs import attribute, link_name, names_in
from vfio_hw.host.target import MDEV, PCI, Target, function_of
from vfio_hw.host.text import printable

_NODES = "/dev/vfio/"
_GONE = " (deleted)"


def holders(device: Path, opened: Sequence[Opening]) -> list[Opening]:
    """Of each process that has a device open through VFIO one opening.

    A process that did not answer is none of them.

    :param device: its directory in sysfs, of a PCI function or of a mediated device.
    :param opened: what all processes have open.
    """
    driver = link_name(device / "driver") or ""
    vfio = not driver or "vfio" in driver or device.parent == MDEV
    directory, group = str(device.resolve()), link_name(device / "iommu_group")
    names = {f"devices/{each}" for each in names_in(device / "vfio-dev")}
    names |= {group, f"noiommu-{group}"} if group else set()
    numbers = {each.node for each in descendants(device) if each.subsystem == "vfio-dev"}
    numbers |= {node(Path("/sys/class/vfio") / name) for name in names}
    mine = {
        each.pid
        for each in opened
        if _named(each) in names
        or (each.node is not None and each.node[0] == "c" and each.node[1:] in numbers)
        or (each.vfio and each.device == directory)
    }
    # A mapping does not say which device it is of, and on older kernels no descriptor does: who has
    # another device open, or its group, has that one.
    elsewhere = {each.pid for each in opened if each.device or _named(each) not in ("", "vfio")}
    mine |= {
        each.pid
        for each in opened
        if vfio and each.vfio and not each.device
        if each.pid not in elsewhere
    }
    # VFIO's driver enables a function while it is open. Where nobody is seen to have it, KVM may,
    # also for who has another one. Source: vfio_pci_core_enable(), Documentation/PCI/sysfs-pci.rst.
    if vfio and not mine and attribute(device / "enable") not in (None, "0"):
        return list({each.pid: each for each in opened if each.what == BY_KVM}.values())
    found = {each.pid: each for each in opened if each.vfio or _named(each) in names}
    return [found[pid] for pid in sorted(mine) if pid in found]


def _named(opening: Opening) -> str:
    """The name below /dev/vfio of what is open, also of a node that has gone since."""
    what = opening.what.removesuffix(_GONE)
    return what.removeprefix(_NODES) if what.startswith(_NODES) else ""


def in_words(held: Iterable[Opening]) -> str:
    """Who they are, for a message."""
    return ", ".join(printable(str(each)) for each in held)


class Held:
    """Who holds what at one time: looked for when it is first asked."""

    def __init__(self) -> None:
        self._opened: list[Opening] | None = None

    def function(self, function: PciFunction) -> list[Opening]:
        """Who has it open, or one of its virtual functions, which go before it does."""
        return self._of([function.path, *(each.path for each in function.virtual_functions())])

    def target(self, target: Target) -> list[Opening]:
        """Who has the device open that a change is of."""
        if target.kind == "mdev":
            device = MDEV / target.name
            return self._of([device]) if device.exists() else []
        address = None if target.kind == "present" else function_of(target)
        if address is None or not (PCI / address).is_dir():
            return []
        return self.function(PciFunction.at(address))

    def _of(self, devices: Iterable[Path]) -> list[Opening]:
        if self._opened is None:
            self._opened, _ = openings()
        found = {each.pid: each for device in devices for each in holders(device, self._opened)}
        return list(found.values())
