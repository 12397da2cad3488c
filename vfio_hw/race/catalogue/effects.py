"""The effects that entries of the catalogue have on one another, and what is said of many alike."""

from vfio_hw.race.catalogue.entry import KILLED as KILLED
from vfio_hw.race.catalogue.entry import RESETTABLE, Legal, legal

#: The device leaves its VFIO driver, and with it go its group and its nodes.
REMOVED = "the device is removed"
#: The module of a mediated device's parent goes, and the device with it.
UNLOADED = "the parent's module is unloaded"
GONE = (REMOVED, UNLOADED)
#: The function is reset by somebody who holds its lock meanwhile.
RESET = "the device is reset"
#: Its memory, or a register that says where that is, is in use, under a lock.
REACHED = "the device's memory is reached"
OPENED_GROUP = "the group is opened"
OPENED_DEVICE = "the device is opened"
BOUND = "the character device is bound"
#: Another thread closes what the user has in this slot.
CLOSED_DEVICE = "the device is closed"
CLOSED_GROUP = "the group is closed"
CLOSED_CONTAINER = "the container is closed"
CLOSED_IOMMUFD = "the iommufd is closed"
CLOSED_VM = "the VM is closed"
CLOSED_KVM_VFIO = "the VM's VFIO device is closed"
UNSET = "the group leaves its container"
SET = "the group enters a container"
DETACHED = "the device is detached"
MAPPED = "memory is mapped"
UNMAPPED = "everything is unmapped"
IRQS_OFF = "the interrupts are taken away"
MSI_ON = "MSI is armed"
INTX_ON = "INTx is armed"
KVM_ADDED = "KVM is told of the group"
KVM_DELETED = "KVM forgets the group"
MIGRATES = "the migration state changes"
SLEEPS = "low power is allowed or not"


def loses(*effects: str) -> tuple[Legal, ...]:
    """What may come of one call on a descriptor that others close, by those effects."""
    why = "a descriptor is EBADF, and its slot empty, once another thread's close(2) has begun"
    return legal("EBADF skipped", why, under=effects)


def cut_off() -> tuple[Legal, ...]:
    """A reset refuses whoever would give the device an IOMMU meanwhile."""
    why = "linux/vfio.h, VFIO_DEVICE_ATTACH_IOMMUFD_PT; iommu_attach_group() for a container too"
    return legal("EBUSY", why, under=(RESET,), kinds=RESETTABLE)


def resets(answer: str = "EAGAIN", under: tuple[str, ...] = (REMOVED, RESET)) -> tuple[Legal, ...]:
    """What may come of a call that tries to reset the function, which it does not wait for."""
    why = "pci_try_reset_function() says EAGAIN while the device's lock is held: an unbind, a reset"
    return legal(answer, why, under=under, kinds=RESETTABLE)
