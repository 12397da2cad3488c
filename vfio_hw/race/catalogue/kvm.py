"""Operations on a virtual machine that is told of VFIO's files."""

from collections.abc import Sequence

from vfio_hw.race.catalogue.effects import (
    CLOSED_GROUP,
    CLOSED_KVM_VFIO,
    CLOSED_VM,
    KVM_ADDED,
    KVM_DELETED,
    loses,
)
from vfio_hw.race.catalogue.entry import Operation, alone, legal
from vfio_hw.race.catalogue.scenes import machine, told
from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Slot, Step, close
from vfio_hw.uapi import lib

ADD: int = lib.KVM_DEV_VFIO_FILE_ADD
DEL: int = lib.KVM_DEV_VFIO_FILE_DEL

#: What may come of telling it to forget a group.
FORGETTING = (
    alone()
    + loses(CLOSED_KVM_VFIO, CLOSED_GROUP)
    + legal("ENOENT", "kvm_vfio_file_del(): it was forgotten before", under=KVM_DELETED)
)

#: What may come of letting another machine take the place of the one that was told.
REPLACING = (
    alone("ok+ok")
    + legal(
        "EBADF+ok skipped+ok", "the first machine's VFIO device is closed", under=CLOSED_KVM_VFIO
    )
    + legal("ENOENT+ok", "kvm_vfio_file_del(): it was forgotten before", under=KVM_DELETED)
    + legal(
        "ok+EBADF ok+skipped EBADF+EBADF EBADF+skipped skipped+skipped",
        "the group is closed, before the first machine forgets it or before the other is told",
        under=CLOSED_GROUP,
    )
)


def replaced(world: World) -> Sequence[Step]:
    """The machine forgets the group, and another one is told of it."""
    vm, kvm_vfio = Slot("the other vm"), Slot("the other kvm-vfio")
    other = machine(vm, kvm_vfio)
    return (
        *other.prologue,
        told(world, DEL, decisive=True),
        told(world, ADD, by=kvm_vfio, decisive=True),
        *other.epilogue,
    )


OPERATIONS = (
    Operation(
        "KVM_DEV_VFIO_FILE_ADD",
        ("kvm",),
        lambda world: (told(world, ADD, decisive=True), told(world, DEL)),
        alone()
        + loses(CLOSED_KVM_VFIO, CLOSED_GROUP)
        + legal("EEXIST", "kvm_vfio_file_add(): it was told before", under=KVM_ADDED),
        frozenset({KVM_ADDED, KVM_DELETED}),
    ),
    Operation(
        "KVM_DEV_VFIO_FILE_DEL",
        ("guest", "guest_open"),
        lambda world: (told(world, DEL, decisive=True),),
        FORGETTING,
        frozenset({KVM_DELETED}),
    ),
    Operation(
        "close_vm",
        ("guest", "guest_open", "kvm"),
        lambda world: (close(world.vm, decisive=True),),
        alone(),
        frozenset({CLOSED_VM}),
    ),
    Operation(
        "close_kvm_vfio",
        ("guest", "guest_open", "kvm"),
        lambda world: (close(world.kvm_vfio, decisive=True),),
        alone(),
        frozenset({CLOSED_KVM_VFIO, KVM_DELETED}),
    ),
)
