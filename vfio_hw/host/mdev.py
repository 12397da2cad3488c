"""Mediated devices: the types that parents offer, creating a device and removing it."""

import contextlib
import os
import uuid as uuids
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError, KernelRefused, Unsupported
from vfio_hw.host import modules
from vfio_hw.host.blocking import BlockingWrite, write_with_deadline
from vfio_hw.host.sysfs import attribute, link_name, names_in, write

CLASS = Path("/sys/class/mdev_bus")
DEVICES = Path("/sys/bus/mdev/devices")

# The options that promise the types of the sample drivers.
_OPTIONS = {name: f"CONFIG_SAMPLE_VFIO_MDEV_{name.upper()}" for name in ("mtty", "mdpy", "mbochs")}


@dataclass(frozen=True)
class MdevType:
    """A type of mediated device that a parent offers.

    Source: Documentation/driver-api/vfio-mediated-device.rst, mdev_supported_types.
    """

    path: Path

    @property
    def id(self) -> str:
        """``mtty-1``: the driver's name and the type's."""
        return self.path.name

    @property
    def parent(self) -> str:
        """The device that offers it."""
        return self.path.parent.parent.name

    @property
    def name(self) -> str:
        """What the driver calls it for people."""
        return attribute(self.path / "name") or self.id

    @property
    def device_api(self) -> str:
        """``vfio-pci``, ``vfio-ccw`` or ``vfio-ap``: the bus the device shows to its user."""
        return attribute(self.path / "device_api") or ""

    @property
    def available_instances(self) -> int:
        """How many more of them can be created now."""
        return int(attribute(self.path / "available_instances") or 0)

    def create(self, uuid: str) -> "Mdev":
        """Create a device of this type; creating never waits for the user of another one.

        :raises KernelRefused: EEXIST when the UUID is taken, ENOSPC or EUSERS when no instance is
            left, ENODEV when the parent goes away.
        """
        text = _canonical(uuid)
        write(self.path / "create", text)
        return Mdev(text)

    def create_errno(self, uuid: str) -> int:
        """The errno with which :meth:`create` is refused; 0 when the device was created."""
        try:
            self.create(uuid)
        except KernelRefused as refused:
            return refused.errno or 0
        return 0

    def __str__(self) -> str:
        return f"{self.id} of {self.parent}"


@dataclass(frozen=True)
class Mdev:
    """A mediated device, by its UUID."""

    uuid: str

    @property
    def path(self) -> Path:
        """Its directory under /sys/bus/mdev/devices."""
        return DEVICES / self.uuid

    @property
    def exists(self) -> bool:
        """The device is still on the bus; it leaves the bus while its removal waits."""
        return self.path.exists()

    @property
    def iommu_group(self) -> int | None:
        """The number of its IOMMU group; None when it has none (any more)."""
        number = link_name(self.path / "iommu_group")
        return None if number is None else int(number)

    def removal(self) -> BlockingWrite:
        """The write that removes the device, not yet started: it returns when nobody has it open.

        Source: remove_store() in drivers/vfio/mdev/mdev_sysfs.c.
        """
        return BlockingWrite(self.path / "remove", "1")

    def remove(self, deadline: float = 10.0) -> None:
        """Remove the device.

        :raises KernelRefused: ENOENT or ENODEV when it is already gone, or going.
        :raises KernelSplat: it was not gone within ``deadline`` seconds; the removal stays pending.
        """
        write_with_deadline(self.path / "remove", "1", deadline)

    def __str__(self) -> str:
        return f"mdev {self.uuid}"


def types(parent: str | None = None) -> list[MdevType]:
    """The types on offer, of every parent or of the one with this name (``mtty``)."""
    return [
        MdevType(CLASS / name / "mdev_supported_types" / identity)
        for name in names_in(CLASS)
        if parent in (None, name)
        for identity in names_in(CLASS / name / "mdev_supported_types")
    ]


def type_by_id(identity: str) -> MdevType:
    """The type with this id (``mtty-1``).

    :raises Unsupported: no parent offers it, which the kernel's configuration promises in a guest
        of ours, and elsewhere while its module is loaded.
    """
    for kind in types():
        if kind.id == identity:
            return kind
    driver = identity.partition("-")[0]
    # Elsewhere whoever has this machine chooses what is loaded, and so what is tested.
    promised = bool(os.environ.get(modules.IN_GUEST)) or modules.is_loaded(driver)
    raise Unsupported(
        f"no device offers the mdev type {identity}: load its driver's module",
        option=_OPTIONS.get(driver) if promised else None,
    )


@contextlib.contextmanager
def created(kind: MdevType, uuid: str | None = None, deadline: float = 10.0) -> Iterator[Mdev]:
    """A device of this type exists inside, and is gone after, whoever removes it.

    :param uuid: its UUID; a random one when None.
    :param deadline: seconds for the removal at the end.
    :raises HarnessError: the UUID is malformed.
    :raises KernelRefused: as :meth:`MdevType.create`.
    :raises KernelSplat: the device could not be removed in time.
    """
    mdev = kind.create(str(uuids.uuid4()) if uuid is None else uuid)
    try:
        yield mdev
    finally:
        _gone(mdev, deadline)


def _gone(mdev: Mdev, deadline: float) -> None:
    removal = mdev.removal()
    if not mdev.exists:
        return
    try:
        with removal:
            removal.must_return(deadline)
    except KernelRefused:
        if mdev.exists:  # otherwise another removal won
            raise


def _canonical(uuid: str) -> str:
    # uuid.UUID alone also takes braces, a prefix, and digits without dashes.
    with contextlib.suppress(ValueError):
        if str(uuids.UUID(uuid)) == uuid.lower():
            return uuid.lower()
    raise HarnessError(
        f"{uuid!r} is not a UUID: write it as 8-4-4-4-12 hexadecimal digits, or leave it out"
    )
