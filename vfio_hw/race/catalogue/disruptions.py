"""Everything that takes a device, or a part of what a user has of it, away from under its user."""

from collections.abc import Callable, Sequence

from vfio_hw.race.catalogue import (
    cdev,
    device,
    dma,
    elsewhere,
    group,
    irq,
    kvm,
    mdev,
    owner,
    removal,
)
from vfio_hw.race.catalogue.effects import (
    BOUND,
    CLOSED_CONTAINER,
    CLOSED_DEVICE,
    CLOSED_GROUP,
    CLOSED_IOMMUFD,
    CLOSED_KVM_VFIO,
    CLOSED_VM,
    DETACHED,
    IRQS_OFF,
    KVM_DELETED,
    OPENED_DEVICE,
    OPENED_GROUP,
    REMOVED,
    RESET,
    UNLOADED,
    UNMAPPED,
    UNSET,
    loses,
    resets,
)
from vfio_hw.race.catalogue.entry import (
    INTERRUPTING,
    MEDIATED,
    PCI,
    RESETTABLE,
    Disruption,
    Legal,
    alone,
    legal,
)
from vfio_hw.race.catalogue.scenes import SCENES, told
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Slot, Step, close, ioctl

_IN_USE = ("cdev", "legacy", "guest_open")
_OPENED = (*_IN_USE, "node")
_GROUPED = ("container", "group", "legacy", "guest", "guest_open", "kvm")
_IOMMUFD = ("cdev", "node", "iommufd")
_VM = ("guest", "guest_open", "kvm")


def _closed(
    name: str,
    slot: Callable[[World], Slot],
    scenes: tuple[str, ...],
    *effects: str,
    by_users: bool = False,
) -> Disruption:
    def steps(world: World) -> Sequence[Step]:
        return (close(slot(world), decisive=True),)

    own = legal("skipped", "the user closed it before", under=effects) if by_users else ()
    return Disruption(name, scenes, steps, alone() + own, frozenset(effects))


def _by_users(rows: tuple[Legal, ...], *others: str) -> tuple[Legal, ...]:
    """What an operation has to expect of users: no other disruption's effects, nor those."""
    return tuple(each for each in rows if each.under not in (UNLOADED, *others))


def _second_descriptor(world: World) -> Sequence[Step]:
    own = Slot("descriptor of the other thread")
    name = world.subject.name.encode() + b"\0"
    return (
        ioctl(world.group, "VFIO_GROUP_GET_DEVICE_FD", name, into=own, decisive=True),
        close(own, delay_ns=group.HOLD_NS),
    )


_EVERYWHERE = tuple(SCENES)

DISRUPTIONS = (
    Disruption(
        "mdev_remove",
        _EVERYWHERE,
        mdev.removed,
        alone("ok+ok") + _by_users(mdev.ONE_REMOVES),
        frozenset({REMOVED}),
        MEDIATED,
        waits=True,
    ),
    Disruption(
        "driver_unbind",
        _EVERYWHERE,
        removal.unbound,
        alone("ok+ok") + removal.ONE_UNBINDS,
        frozenset({REMOVED}),
        PCI,
        waits=True,
    ),
    Disruption(
        "pci_remove",
        _EVERYWHERE,
        removal.pci_removed,
        alone("ok+ok") + removal.ONE_UNBINDS,
        frozenset({REMOVED}),
        PCI,
        waits=True,
    ),
    Disruption(
        "module_unload",
        _EVERYWHERE,
        removal.unloaded,
        alone()
        + legal("EAGAIN", "vfio_df_open() holds the driver's module", scenes=_IN_USE)
        + legal("EAGAIN", "vfio_df_open() held the module", under=(OPENED_DEVICE, BOUND)),
        frozenset({UNLOADED}),
        MEDIATED,
        of_the_machine=True,
    ),
    Disruption(
        "sysfs_reset",
        _EVERYWHERE,
        removal.reset_by_sysfs,
        alone("ok+ok"),
        frozenset({RESET}),
        RESETTABLE,
    ),
    Disruption(
        "device_reset",
        _OPENED,
        device.reset,
        alone()
        + legal("EINVAL", "vfio_device_fops_unl_ioctl() asks for BIND first", scenes=("node",))
        + loses(CLOSED_DEVICE)
        + resets(under=(RESET,)),
        frozenset({RESET}),
        (*MEDIATED, *RESETTABLE),
    ),
    Disruption(
        "second_group_open",
        ("nothing", "iommufd", "node"),
        group.open_group,
        _by_users(group.OPENING),
        frozenset({OPENED_GROUP}),
    ),
    Disruption(
        "second_bind",
        ("nothing", "iommufd", "node"),
        cdev.open_and_bind,
        _by_users(cdev.OPENING_AND_BINDING, RESET),
        frozenset({BOUND}),
    ),
    Disruption(
        "second_device_fd",
        ("container", "legacy", "guest", "guest_open"),
        _second_descriptor,
        _by_users(group.GETTING),
        frozenset({OPENED_DEVICE}),
    ),
    Disruption(
        "unset_container",
        ("container", "legacy", "guest", "guest_open"),
        lambda world: (group.left(world),),
        _by_users(group.LEAVING)
        + legal("EBUSY", "a device of the group is open", scenes=("legacy", "guest_open")),
        frozenset({UNSET}),
    ),
    Disruption(
        "detach",
        ("cdev",),
        lambda world: (cdev.detached(world),),
        alone() + loses(CLOSED_DEVICE),
        frozenset({DETACHED}),
    ),
    Disruption(
        "unmap_all",
        ("container", "legacy"),
        lambda world: (dma.unmap_all(world, decisive=True),),
        _by_users(dma.REQUESTING),
        frozenset({UNMAPPED}),
    ),
    Disruption(
        "irqs_off",
        _IN_USE,
        lambda world: (irq.disarmed(world, irq.message_index(world.subject.kind), decisive=True),),
        alone("ok EINVAL", "EINVAL when none is armed: linux/vfio.h, VFIO_DEVICE_SET_IRQS")
        + loses(CLOSED_DEVICE),
        frozenset({IRQS_OFF}),
        INTERRUPTING,
    ),
    Disruption(
        "kvm_forgets",
        ("guest", "guest_open"),
        lambda world: (told(world, kvm.DEL, decisive=True),),
        kvm.FORGETTING,
        frozenset({KVM_DELETED}),
    ),
    Disruption(
        "kvm_replaced",
        ("guest", "guest_open"),
        kvm.replaced,
        kvm.REPLACING,
        frozenset({KVM_DELETED}),
    ),
    _closed(
        "close_device_elsewhere",
        lambda world: world.device,
        (*_IN_USE, "node"),
        CLOSED_DEVICE,
        by_users=True,
    ),
    _closed("close_group_elsewhere", lambda world: world.group, _GROUPED, CLOSED_GROUP),
    _closed("close_container_elsewhere", lambda world: world.container, _GROUPED, CLOSED_CONTAINER),
    _closed("close_iommufd_elsewhere", lambda world: world.iommufd, _IOMMUFD, CLOSED_IOMMUFD),
    _closed("close_vm_elsewhere", lambda world: world.vm, _VM, CLOSED_VM),
    _closed(
        "close_kvm_vfio_elsewhere", lambda world: world.kvm_vfio, _VM, CLOSED_KVM_VFIO, KVM_DELETED
    ),
    *owner.DISRUPTIONS,
    *elsewhere.DISRUPTIONS,
)
