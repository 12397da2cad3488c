"""What is open already when a round begins."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import (
    Memory,
    Slot,
    Step,
    close,
    ioctl,
    memory,
    openat,
    pointer_to,
)
from vfio_hw.uapi import ffi, lib, struct
from vfio_hw.vfio.kvm import NODE


@dataclass(frozen=True)
class Held:
    """What a scene holds.

    :param prologue: opens it.
    :param epilogue: closes it but for the device, which each user closes itself.
    :param device: whether a descriptor of the device is open.
    """

    prologue: tuple[Step, ...]
    epilogue: tuple[Step, ...]
    device: bool = False


def nothing(_: World) -> Held:
    """Nothing is open."""
    return Held((), ())


def container(world: World) -> Held:
    """The group is in a container with a type1v2 IOMMU, and none of its devices is open."""
    return Held(_container(world), _closed(world.group, world.container))


def group(world: World) -> Held:
    """The group and a container are open, and have nothing to do with each other."""
    return Held(_container(world)[:2], _closed(world.group, world.container))


def legacy(world: World) -> Held:
    """The device is open, through its group and a container."""
    return Held((*_container(world), *_device(world)), container(world).epilogue, device=True)


def iommufd(world: World) -> Held:
    """An iommufd with an address space is open, and nothing of the device."""
    return Held(_iommufd(world), _closed(world.iommufd))


def node(world: World) -> Held:
    """The character device is open and bound to nothing; an iommufd is open."""
    opening = openat(world.subject.node, os.O_RDWR, into=world.device)
    return Held((*_iommufd(world), opening), _closed(world.iommufd), device=True)


def cdev(world: World) -> Held:
    """The device is open, bound to an iommufd and attached to its address space."""
    bind = memory(
        struct("vfio_device_bind_iommufd"),
        stores={"iommufd": world.iommufd},
        loads={"out_devid": world.dev_id},
    )
    attach = memory(struct("vfio_device_attach_iommufd_pt"), stores={"pt_id": world.ioas})
    steps = (
        ioctl(world.device, "VFIO_DEVICE_BIND_IOMMUFD", bind),
        ioctl(world.device, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", attach),
        _asked(world),
    )
    return Held((*node(world).prologue, *steps), _closed(world.iommufd), device=True)


def kvm(world: World) -> Held:
    """Group and container are open, and a VM with a VFIO device that knows nothing of them yet."""
    own = machine(world.vm, world.kvm_vfio)
    steps = (*_container(world), *own.prologue)
    return Held(steps, (*own.epilogue, *container(world).epilogue))


def guest(world: World) -> Held:
    """Group, container and VM are open, and the VM was told of the group."""
    own = machine(world.vm, world.kvm_vfio)
    steps = (*_container(world), *own.prologue, told(world, lib.KVM_DEV_VFIO_FILE_ADD))
    return Held(steps, (*own.epilogue, *container(world).epilogue))


def guest_open(world: World) -> Held:
    """The same, and the device is open."""
    before = guest(world)
    return Held((*before.prologue, *_device(world)), before.epilogue, device=True)


#: By its name, what is open when a round begins.
SCENES: dict[str, Callable[[World], Held]] = {
    scene.__name__: scene
    for scene in (nothing, group, container, legacy, iommufd, node, cdev, kvm, guest, guest_open)
}


#: Those with a virtual machine.
WITH_KVM = ("kvm", "guest", "guest_open")


def told(world: World, attribute: int, *, by: Slot | None = None, decisive: bool = False) -> Step:
    """Tells a VM's VFIO device of the group, or to forget it: KVM_DEV_VFIO_FILE_ADD, _DEL.

    :param by: the VFIO device, else that of the scene's VM.
    """
    attr = struct("kvm_device_attr", group=lib.KVM_DEV_VFIO_FILE, attr=attribute)
    number = ffi.offsetof("struct kvm_device_attr", "addr")
    request = Memory(bytes(ffi.buffer(attr)), pointers={number: pointer_to(world.group)})
    name = {lib.KVM_DEV_VFIO_FILE_ADD: "ADD", lib.KVM_DEV_VFIO_FILE_DEL: "DEL"}[attribute]
    return ioctl(
        by or world.kvm_vfio,
        "KVM_SET_DEVICE_ATTR",
        request,
        label=f"KVM_DEV_VFIO_FILE_{name}",
        decisive=decisive,
    )


def device_opened(world: World, *, decisive: bool = False) -> Step:
    """VFIO_GROUP_GET_DEVICE_FD of the device."""
    name = world.subject.name.encode() + b"\0"
    return ioctl(
        world.group, "VFIO_GROUP_GET_DEVICE_FD", name, into=world.device, decisive=decisive
    )


def _container(world: World) -> tuple[Step, ...]:
    return (
        openat("/dev/vfio/vfio", os.O_RDWR, into=world.container),
        openat(world.subject.group_node, os.O_RDWR, into=world.group),
        ioctl(world.group, "VFIO_GROUP_SET_CONTAINER", pointer_to(world.container)),
        ioctl(world.container, "VFIO_SET_IOMMU", lib.VFIO_TYPE1v2_IOMMU),
    )


def _device(world: World) -> tuple[Step, ...]:
    return device_opened(world), _asked(world)


def _asked(world: World) -> Step:
    # Before it mtty and mdpy refuse interrupts: docs/finds/mdev-interrupts-refused-at-first.md.
    return ioctl(world.device, "VFIO_DEVICE_GET_INFO", struct("vfio_device_info"))


def _iommufd(world: World) -> tuple[Step, ...]:
    alloc = memory(struct("iommu_ioas_alloc"), loads={"out_ioas_id": world.ioas})
    return (
        openat("/dev/iommu", os.O_RDWR, into=world.iommufd),
        ioctl(world.iommufd, "IOMMU_IOAS_ALLOC", alloc),
    )


def machine(vm: Slot, kvm_vfio: Slot) -> Held:
    """A virtual machine with a VFIO device."""
    own = Slot("/dev/kvm")
    create = memory(struct("kvm_create_device", type=lib.KVM_DEV_TYPE_VFIO), loads={"fd": kvm_vfio})
    steps = (
        openat(NODE, os.O_RDWR, into=own),
        ioctl(own, "KVM_CREATE_VM", 0, into=vm),
        close(own),
        ioctl(vm, "KVM_CREATE_DEVICE", create),
    )
    return Held(steps, _closed(kvm_vfio, vm))


def _closed(*slots: Slot) -> tuple[Step, ...]:
    return tuple(close(slot) for slot in slots)
