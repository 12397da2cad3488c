"""Virtual machines of KVM, and the device through which KVM is told of VFIO's files."""

import os
import time
from pathlib import Path

from vfio_hw.errors import KernelSplat, Unsupported
from vfio_hw.uapi import ffi, ioctl, lib, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of, open_node

NODE = Path("/dev/kvm")
DEBUGFS = Path("/sys/kernel/debug/kvm")
_POLL = 0.002


def api_version() -> int:
    """KVM_GET_API_VERSION.

    :raises KernelRefused: /dev/kvm can not be opened.
    """
    with Descriptor(open_node(NODE), str(NODE)) as kvm:
        return ioctl(kvm.fileno(), "KVM_GET_API_VERSION", on=kvm.name)


class Vm(Descriptor):
    """A virtual machine without memory or processors, open; it lives while anybody refers to it.

    Source: Documentation/virt/kvm/api.rst, KVM_CREATE_VM.

    :raises Unsupported: this machine has no /dev/kvm, or no debugfs to see the machine in.
    """

    def __init__(self) -> None:
        if not NODE.exists():
            raise Unsupported(f"there is no {NODE}: load the module kvm_amd or kvm_intel")
        if not os.access(NODE, os.R_OK | os.W_OK):
            raise Unsupported(f"{NODE} is not for user {os.geteuid()}: run it as root")
        if not os.access(DEBUGFS, os.F_OK):
            where = f"mount debugfs at {DEBUGFS.parent}, and run it as root"
            raise Unsupported(f"there is no {DEBUGFS}: {where}")
        with Descriptor(open_node(NODE), str(NODE)) as kvm:
            fd = ioctl(kvm.fileno(), "KVM_CREATE_VM", on=kvm.name)
        #: Its directory, from its creation to its end. Source: kvm_create_vm_debugfs().
        self.shown = DEBUGFS / f"{os.getpid()}-{fd}"
        super().__init__(fd, f"VM {self.shown.name}")

    @property
    def alive(self) -> bool:
        """The kernel still has it, open or not."""
        return self.shown.is_dir()

    def must_end(self, deadline: float) -> None:
        """The kernel has destroyed it within ``deadline`` seconds.

        :raises KernelSplat: it has not; somebody still refers to it.
        """
        end = time.monotonic() + deadline
        while self.alive:
            if time.monotonic() > end:
                raise KernelSplat(
                    f"{self.name} was still there after {deadline:g} s with nobody left that may"
                    f" hold it: see {self.shown}",
                    oracle="leaks",
                )
            time.sleep(_POLL)

    def vfio(self) -> "KvmVfio":
        """The VM's VFIO device, of which there is at most one at a time.

        :raises KernelRefused: EBUSY when it has one, ENODEV when this KVM knows nothing of VFIO.
        """
        request = struct("kvm_create_device", type=lib.KVM_DEV_TYPE_VFIO)
        ioctl(self.fileno(), "KVM_CREATE_DEVICE", request, on=self.name)
        return KvmVfio(request.fd, f"VFIO device of {self.name}")

    vfio_errno = errno_of(vfio)


class KvmVfio(Descriptor):
    """The KVM device of type KVM_DEV_TYPE_VFIO; it refers to its VM, and forgets files when closed.

    Source: Documentation/virt/kvm/devices/vfio.rst.
    """

    def add(self, file: Descriptor | int) -> None:
        """KVM_DEV_VFIO_FILE_ADD: devices opened through ``file`` from now on belong to the VM.

        :param file: a group, a character device, or the number of any descriptor.
        :raises KernelRefused: EEXIST when it was added before, EINVAL when it is not VFIO's, EBADF
            when it is not open.
        """
        self._set(lib.KVM_DEV_VFIO_FILE_ADD, file)

    add_errno = errno_of(add)

    def delete(self, file: Descriptor | int) -> None:
        """KVM_DEV_VFIO_FILE_DEL: devices opened from now on do not; those that are open stay.

        :raises KernelRefused: ENOENT when it was not added, EBADF when it is not open.
        """
        self._set(lib.KVM_DEV_VFIO_FILE_DEL, file)

    delete_errno = errno_of(delete)

    def set_attr(self, group: int, attr: int, addr: int = 0) -> None:
        """KVM_SET_DEVICE_ATTR, as it is.

        :param addr: the address of what the attribute is set to.
        :raises KernelRefused: ENXIO for an attribute that it has not, EFAULT for a bad address.
        """
        request = struct("kvm_device_attr", group=group, attr=attr, addr=addr)
        ioctl(self.fileno(), "KVM_SET_DEVICE_ATTR", request, on=self.name)

    set_attr_errno = errno_of(set_attr)

    def get_attr(self, group: int, attr: int, addr: int = 0) -> None:
        """KVM_GET_DEVICE_ATTR, as it is.

        :raises KernelRefused: EPERM, as no attribute of this device can be read.
        """
        request = struct("kvm_device_attr", group=group, attr=attr, addr=addr)
        ioctl(self.fileno(), "KVM_GET_DEVICE_ATTR", request, on=self.name)

    get_attr_errno = errno_of(get_attr)

    def has_attr(self, group: int, attr: int) -> None:
        """KVM_HAS_DEVICE_ATTR.

        :raises KernelRefused: ENXIO when it has no such attribute.
        """
        request = struct("kvm_device_attr", group=group, attr=attr)
        ioctl(self.fileno(), "KVM_HAS_DEVICE_ATTR", request, on=self.name)

    has_attr_errno = errno_of(has_attr)

    def _set(self, attr: int, file: Descriptor | int) -> None:
        fd = ffi.new("int32_t *", file if isinstance(file, int) else file.fileno())
        self.set_attr(lib.KVM_DEV_VFIO_FILE, attr, int(ffi.cast("uintptr_t", fd)))
