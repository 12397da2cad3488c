"""Whether a PCI function may be taken from its driver: nothing that the machine needs, ever.

A refusal has the name of its rule, so that a person can tell what was looked at, and what to do.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from vfio_hw.errors import KernelSplat
from vfio_hw.host import network
from vfio_hw.host.descendants import Descendant, descendants, node
from vfio_hw.host.openers import Opening, Silent, all_are_seen, openings
from vfio_hw.host.pci import PciFunction, is_vfio
from vfio_hw.host.storage import Storage, Use
from vfio_hw.host.sysfs import attribute, link_name

_BRIDGE, _DISPLAY, _NETWORK = 0x06, 0x03, 0x02
#: Classes of the bridges whose drivers let the rest of their IOMMU group go to user space: PCI to
#: PCI. Source: driver_managed_dma of pcieport, Documentation/driver-api/vfio.rst.
_PASSIVE_BRIDGES = (0x0604,)
# Drivers of virtio devices that are no disks, and file systems all the same.
_FILE_SYSTEM_CHANNELS = ("9pnet_virtio", "virtiofs")
_NAMED = 5  # processes of a sentence

#: What a person does about each rule.
REMEDIES = {
    "mounted": "unmount it",
    "swap": "swapoff it",
    "md": "stop the array, or take the disk from it",
    "dm": "remove the mapping",
    "lvm": "deactivate the volume, and take the disk from its group",
    "zfs": "export the pool, and clear the label",
    "loop": "detach the loop device, with losetup -d",
    "exported": "take it out of the export, in /sys/kernel/config",
    "claimed": "end what uses it",
    "unread": "look as root, and see that the disk answers",
    "address": "take the address away, with ip address del",
    "route": "take the route away, with ip route del",
    "bond": "take the interface out of the bond",
    "stacked": "take away what stands on it",
    "up": "see that no container uses it, take it down, with ip link set down, and let nobody take"
    " it up again: nmcli device set INTERFACE managed no, Unmanaged=yes for networkd",
    "namespace": "bring the interface back into this network namespace",
    "console": "choose another device",
    "bridge": "choose another device",
    "vf": "see to the virtual function first",
    "mdev": "remove the mediated devices first",
    "open": "end the process",
    "silent": "look as root of the whole machine (--pid=host); end what is stuck, or reboot",
}


@dataclass(frozen=True)
class Refusal:
    """Why a function may not be taken: by which rule, and what was seen."""

    address: str
    rule: str
    reason: str

    @property
    def remedy(self) -> str:
        """What to do, as an imperative."""
        return REMEDIES[self.rule]

    def __str__(self) -> str:
        return f"{self.address}: {self.reason} [{self.rule}]: {self.remedy}"


def group_of(function: PciFunction, root: Path = Path("/")) -> list[PciFunction]:
    """What has to leave its drivers together with this function: the function, and its siblings.

    Bridges that forward to the others stay where they are; so do siblings without any driver,
    which are no hindrance to the group, but they are in the list, since a driver may come.
    """
    siblings = function.siblings(root / "sys/kernel/iommu_groups")
    return [function, *(each for each in siblings if each.class_code >> 8 not in _PASSIVE_BRIDGES)]


class Safety:
    """What this machine stands on, as it was when this was made; short-lived, therefore.

    :param root: where /sys, /proc and /dev are.
    :param ours: processes that may have the functions open.
    :param claim: claim each unused disk for a moment, as is needed before one is taken; without
        it nobody is disturbed, and a use that the kernel shows nowhere is not seen.
    """

    def __init__(
        self, root: Path = Path("/"), ours: Collection[int] = (), *, claim: bool = True
    ) -> None:
        self._root, self._ours, self._claim = root, ours, claim

    @cached_property
    def _storage(self) -> Storage:
        return Storage(self._root, claim=self._claim)

    @cached_property
    def _openings(self) -> tuple[list[Opening], list[Silent]]:
        opened, silent = openings(self._root)
        return [each for each in opened if each.pid not in self._ours], silent

    def refusals(self, function: PciFunction) -> list[Refusal]:
        """Every reason why this function, or one that has to go with it, may not be taken."""
        return [
            Refusal(each.address, rule, reason)
            for each in group_of(function, self._root)
            for rule, reason in (*self._of_one(each), *self._of_silent(each))
        ]

    def _of_one(self, function: PciFunction) -> Iterator[tuple[str, str]]:
        if function.class_code >> 16 == _BRIDGE:
            yield "bridge", "it is a bridge"
            return  # what is below it is not its own
        below = descendants(function.path, self._root)
        for each in below:
            stood: list[Use] = []
            if each.subsystem == "block":
                stood = self._storage.uses(each.name)
            elif each.node:
                stood = self._storage.exports(each.name, each.node)
            yield from ((use.rule, use.text) for use in stood)
            if (driver := link_name(each.path / "driver")) in _FILE_SYSTEM_CHANNELS:
                yield (
                    "mounted",
                    f"it carries a file system of the virtual machine's host ({driver})",
                )
        yield from _of_interfaces(function, below, self._root)
        yield from _of_console(function, below, self._root)
        for each in below:
            if each.subsystem == "mdev":
                yield "mdev", f"the mediated device {each.name} stands on it"
        for opening in self._of_openers(function, below):
            yield "open", f"it is open in {opening}"
        for virtual in function.virtual_functions():
            try:
                reserved = virtual.driver_override or ""
            except KernelSplat as silent:
                yield "vf", f"its virtual function {virtual} may be reserved: {silent}"
                continue
            if reserved or is_vfio(virtual.driver or ""):
                what = reserved or virtual.driver
                yield "vf", f"its virtual function {virtual} is reserved for {what}, and would go"
            for rule, reason in self._of_one(virtual):
                yield "vf", f"its virtual function {virtual} is in use: {reason} [{rule}]"

    def _of_openers(self, function: PciFunction, below: list[Descendant]) -> list[Opening]:
        nodes = {
            ("b" if each.subsystem == "block" else "c", *each.node) for each in below if each.node
        }
        group = function.iommu_group
        if group is not None and (numbers := node(self._root / f"sys/class/vfio/{group}")):
            nodes.add(("c", *numbers))
        vfio = is_vfio(function.driver or "")
        directory = function.path.resolve()
        held = [each for each in self._openings[0] if each.is_of(directory, nodes, vfio=vfio)]
        # Of each process one will do: what it has mapped it has often open, too.
        return list({each.pid: each for each in reversed(held)}.values())[::-1]

    def _of_silent(self, function: PciFunction) -> Iterator[tuple[str, str]]:
        if function.class_code >> 16 == _BRIDGE:
            return
        if not all_are_seen(self._root):
            yield "silent", "only the processes of a container are seen, and others may have it"
        if silent := self._openings[1]:
            named = ", ".join(map(str, silent[:_NAMED]))
            more = f" and {len(silent) - _NAMED} more" if silent[_NAMED:] else ""
            yield "silent", f"what may have it open does not say so: {named}{more}"


def _of_interfaces(
    function: PciFunction, below: list[Descendant], root: Path
) -> Iterator[tuple[str, str]]:
    interfaces = [each for each in below if each.subsystem == "net"]
    for each in interfaces:
        for use in network.uses(each.name, root):
            yield use.rule, use.text
    hidden = list(network.elsewhere(function.path))
    for device, count in hidden:
        which = "it" if device == function.path.resolve() else device.name
        what = "an interface" if count == 1 else f"{count} interfaces"
        yield "namespace", f"{which} has {what} in another network namespace"
    driver = function.driver or ""
    network_card = function.class_code >> 16 == _NETWORK and not interfaces and not hidden
    if network_card and driver and not is_vfio(driver):
        yield "namespace", f"{driver} drives it, and has no interface in this network namespace"


def _of_console(
    function: PciFunction, below: list[Descendant], root: Path
) -> Iterator[tuple[str, str]]:
    if function.class_code >> 16 == _DISPLAY and attribute(function.path / "boot_vga") == "1":
        yield "console", "it shows the console of this machine"
    for each in below:
        if each.subsystem == "graphics" and each.name.startswith("fb"):
            yield "console", f"its frame buffer {each.name} shows a console"
    consoles = (attribute(root / "sys/class/tty/console/active") or "").split()
    for each in below:
        if each.subsystem == "tty" and each.name in consoles:
            yield "console", f"the kernel's console is on its port {each.name}"
