"""Every operation against every disruption on every kind of device; which can not be, and why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vfio_hw.errors import HarnessError
from vfio_hw.race.catalogue import (
    cdev,
    device,
    dma,
    feature,
    gfx,
    group,
    ioas,
    irq,
    kvm,
    mdev,
    migration,
    region,
    removal,
)
from vfio_hw.race.catalogue.disruptions import DISRUPTIONS
from vfio_hw.race.catalogue.effects import CLOSED_DEVICE
from vfio_hw.race.catalogue.entry import KINDS, Disruption, Entry, Operation

_SUBJECTS = (
    group,
    cdev,
    device,
    region,
    irq,
    feature,
    migration,
    gfx,
    dma,
    ioas,
    kvm,
    mdev,
    removal,
)
OPERATIONS: tuple[Operation, ...] = tuple(
    operation for subject in _SUBJECTS for operation in subject.OPERATIONS
)

_E = TypeVar("_E", bound=Entry)

#: Pairs that would go together, and must not: operation, disruption, reason.
EXCLUDED = (
    ("create_mdev", "owner_killed", "the device that it creates would be left"),
    *(
        (operation, "virtual_function_removed", "a virtual function has no INTx: SR-IOV 1.1, 3.4.1")
        for operation in ("arm_INTx", "mask_INTx", "unmask_INTx")
    ),
)

#: Two users and what disturbs them.
TRIPLES = (
    ("open_group", "open_group", "mdev_remove"),
    ("open_group", "open_group", "driver_unbind"),
    ("open_group", "open_cdev_and_VFIO_DEVICE_BIND_IOMMUFD", "mdev_remove"),
    ("open_group", "open_cdev_and_VFIO_DEVICE_BIND_IOMMUFD", "driver_unbind"),
    ("VFIO_GROUP_GET_DEVICE_FD", "VFIO_GROUP_GET_DEVICE_FD", "mdev_remove"),
    ("VFIO_GROUP_GET_DEVICE_FD", "VFIO_GROUP_GET_DEVICE_FD", "driver_unbind"),
    ("VFIO_GROUP_GET_DEVICE_FD", "VFIO_GROUP_GET_DEVICE_FD", "module_unload"),
    ("VFIO_GROUP_GET_DEVICE_FD", "KVM_DEV_VFIO_FILE_DEL", "close_vm_elsewhere"),
    ("close_device", "open_cdev", "mdev_remove"),
    ("close_device", "open_cdev", "driver_unbind"),
    ("close_device", "VFIO_DEVICE_GET_INFO", "mdev_remove"),
    ("close_device", "read_config", "driver_unbind"),
    ("VFIO_GROUP_SET_CONTAINER", "VFIO_SET_IOMMU", "close_container_elsewhere"),
    ("KVM_DEV_VFIO_FILE_ADD", "KVM_DEV_VFIO_FILE_ADD", "close_kvm_vfio_elsewhere"),
    ("VFIO_IOMMU_MAP_DMA", "VFIO_IOMMU_UNMAP_DMA", "unmap_all"),
    ("VFIO_IOMMU_MAP_DMA", "VFIO_IOMMU_DIRTY_PAGES_GET_BITMAP", "close_group_elsewhere"),
    ("IOMMU_IOAS_MAP", "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "detach"),
    ("IOMMU_DESTROY_of_the_device", "close_device", "close_iommufd_elsewhere"),
    ("arm_MSI", "trigger_MSI", "irqs_off"),
    ("arm_MSI", "arm_INTx", "device_reset"),
    ("disarm_MSI", "arm_INTx", "irqs_off"),
    ("trigger_MSI", "arm_INTx", "irqs_off"),
    ("mask_INTx", "arm_MSI", "irqs_off"),
    ("unmask_INTx", "arm_MSI", "irqs_off"),
    ("trigger_MSI", "close_device", "driver_unbind"),
    ("read_mapped_BAR", "read_BAR", "device_reset"),
    ("read_mapped_BAR", "close_device", "sysfs_reset"),
    (
        "VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY",
        "VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY",
        "driver_unbind",
    ),
    ("mig_STOP", "mig_PRE_COPY", "device_reset"),
    ("mig_STOP", "mig_RESUMING", "device_reset"),
    ("mig_STOP_COPY", "mig_read", "device_reset"),
    ("create_mdev", "read_available_instances", "module_unload"),
)


@dataclass(frozen=True)
class Pair:
    """An operation against a disruption, on one kind of device, in the scene that suits both."""

    operation: Operation
    disruption: Disruption
    kind: str
    scene: str
    second: Operation | None = None
    """A triple: another user's operation, at the same time."""

    @property
    def users(self) -> tuple[Operation, ...]:
        """The operations, each by a user of its own."""
        return (self.operation,) if self.second is None else (self.operation, self.second)

    @property
    def place(self) -> str:
        """The kind, and where such a device is to be had: ``nvme``, ``nvme_sr-iov``."""
        return "_".join(filter(None, (self.kind, self.disruption.machine)))

    @property
    def name(self) -> str:
        """``VFIO_DEVICE_GET_INFO-against-mdev_remove-mtty``."""
        users = "-and-".join(user.name for user in self.users)
        return f"{users}-against-{self.disruption.name}-{self.kind}"

    @property
    def legal(self) -> frozenset[tuple[str, ...]]:
        """Every outcome that a round may have: of the user, the disruption, the second user."""
        found: list[tuple[str, ...]] = [()]
        for entry, others in self.meetings:
            outcomes = sorted(entry.outcomes(self.kind, self.scene, others))
            found = [(*before, outcome) for before in found for outcome in outcomes]
        return frozenset(found)

    @property
    def meetings(self) -> list[tuple[Entry, frozenset[str]]]:
        """The user, the disruption, the second user; of each what the others do to it."""
        everyone: list[Entry] = [self.operation, self.disruption, *self.users[1:]]
        does = [entry.does for entry in everyone]
        return [(entry, self.effects_on(at, does)) for at, entry in enumerate(everyone)]

    def effects_on(self, place: int, does: Sequence[frozenset[str]]) -> frozenset[str]:
        """What the others do to the one at this place, when that is what each does."""
        others = frozenset[str]().union(*does[:place], *does[place + 1 :])
        # Every user closes its own descriptor in the end: the first one's is the disruption's too,
        # the second one's nobody else's.
        if place == 1:
            return others | {CLOSED_DEVICE}
        return others - {CLOSED_DEVICE} if place > 1 else others


def why_not(users: Sequence[Operation], disruption: Disruption, kind: str) -> str | None:
    """Why these do not go together on such a device; None when they do."""
    for operation in users:
        for first, second, reason in EXCLUDED:
            if (operation.name, disruption.name) == (first, second):
                return reason
    if disruption.ends_user and len(users) > 1:
        return f"{disruption.name} ends one user: leave the second one out"
    entries: list[Entry] = [*users, disruption]
    for entry in entries:
        if kind not in entry.kinds:
            return f"{kind} can not do {entry.name}: choose one of {', '.join(entry.kinds)}"
    if _scene(entries) is None:
        needed = "; ".join(f"{entry.name} {' or '.join(entry.scenes)}" for entry in entries)
        return f"no scene suits them all: {needed}"
    return None


def pairs() -> Iterator[Pair]:
    """Every legal pair, by operation, disruption and kind."""
    for operation in OPERATIONS:
        for disruption in DISRUPTIONS:
            for kind in KINDS:
                if why_not([operation], disruption, kind) is None:
                    yield together([operation], disruption, kind)


def triples() -> Iterator[Pair]:
    """Two users against one disruption, on every kind of device that can."""
    for first, second, third in TRIPLES:
        users = [operation_named(first), operation_named(second)]
        for kind in KINDS:
            if why_not(users, disruption_named(third), kind) is None:
                yield together(users, disruption_named(third), kind)


def together(users: Sequence[Operation], disruption: Disruption, kind: str) -> Pair:
    """A pair, or a triple.

    :param users: one or two operations.
    :raises HarnessError: they do not go together on such a device; says why.
    """
    scene = _scene([*users, disruption])
    reason = why_not(users, disruption, kind)
    if reason or scene is None:
        names = " and ".join(user.name for user in users)
        raise HarnessError(f"{names} can not race {disruption.name} on {kind}: {reason}")
    return Pair(users[0], disruption, kind, scene, *users[1:])


def operation_named(name: str) -> Operation:
    """The operation of that name.

    :raises HarnessError: there is none.
    """
    return _named(OPERATIONS, name, "operation")


def disruption_named(name: str) -> Disruption:
    """The disruption of that name.

    :raises HarnessError: there is none.
    """
    return _named(DISRUPTIONS, name, "disruption")


def _named(entries: Sequence[_E], name: str, what: str) -> _E:
    for entry in entries:
        if entry.name == name:
            return entry
    near = [entry.name for entry in entries if name.lower() in entry.name.lower()]
    names = ", ".join(near or [entry.name for entry in entries])
    raise HarnessError(f"the catalogue has no {what} {name}: choose one of {names}")


def _scene(entries: Sequence[Entry]) -> str | None:
    """The first scene of the first entry that suits the others too."""
    first, *others = entries
    return next((s for s in first.scenes if all(s in other.scenes for other in others)), None)
