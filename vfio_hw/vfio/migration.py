"""Migration: the states of a device, and the file through which its data flow.

Source: linux/vfio.h, VFIO_DEVICE_FEATURE_MIGRATION, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE and
``enum vfio_device_mig_state``.
"""

import os

from vfio_hw.errors import KernelRefused
from vfio_hw.uapi import ffi, ioctl, lib, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.feature import GET, SET, feature
from vfio_hw.vfio.info import capability

#: The states by the names of the header, without their prefix; ERROR is no state to ask for.
STATES: dict[str, int] = {
    name: getattr(lib, f"VFIO_DEVICE_STATE_{name}")
    for name in (
        "STOP",
        "RUNNING",
        "STOP_COPY",
        "RESUMING",
        "RUNNING_P2P",
        "PRE_COPY",
        "PRE_COPY_P2P",
    )
}
_STATE: int = lib.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE
_MOST = 1 << 20


class DataFile(Descriptor):
    """A data transfer session: read while the device's state is saved, written while it resumes."""

    def read(self, count: int = _MOST) -> bytes:
        """What the device has to say next; b"" at the end.

        :raises KernelRefused: ENODEV when the session has ended.
        """
        try:
            return os.read(self.fileno(), count)
        except OSError as error:
            raise KernelRefused(error.errno or 0, "read", self.name) from None

    read_errno = errno_of(read)

    def read_all(self) -> bytes:
        """Everything up to the end of the stream."""
        parts = []
        while part := self.read():
            parts.append(part)
        return b"".join(parts)

    def write(self, data: bytes) -> None:
        """Give the device all of ``data``, in as many steps as it likes.

        :raises KernelRefused: ENODEV when the session has ended, or with what the driver says of
            data that it can not use.
        """
        while data:
            try:
                data = data[os.write(self.fileno(), data) :]
            except OSError as error:
                raise KernelRefused(error.errno or 0, "write", self.name) from None

    write_errno = errno_of(write)

    def precopy_info(self) -> tuple[int, int]:
        """How many bytes are left to be read in PRE_COPY: initial ones, and of later changes.

        :raises KernelRefused: EINVAL in any other state.
        """
        info = struct("vfio_precopy_info")
        ioctl(self.fileno(), "VFIO_MIG_GET_PRECOPY_INFO", info, on=self.name)
        return int(info.initial_bytes), int(info.dirty_bytes)

    precopy_info_errno = errno_of(precopy_info)


def migration_flags(device: Device) -> int:
    """What of migration the device can: VFIO_MIGRATION_STOP_COPY, _P2P, _PRE_COPY.

    :raises KernelRefused: ENOTTY when it can not be migrated.
    """
    none = struct("vfio_device_feature_migration")
    number = lib.VFIO_DEVICE_FEATURE_MIGRATION
    _, data = feature(device, number | GET, bytes(ffi.buffer(none)))
    return int.from_bytes(data, "little")


def state(device: Device) -> int:
    """The device's migration state."""
    none = struct("vfio_device_feature_mig_state")
    _, data = feature(device, _STATE | GET, bytes(ffi.buffer(none)))
    return int(capability("struct vfio_device_feature_mig_state", data).device_state)


def set_state(device: Device, new: int) -> DataFile | None:
    """Bring the device into the state ``new``; returns the session that begins with it, if any.

    :raises KernelRefused: EINVAL for a state that does not exist, or can not be reached from here.
    """
    request = struct("vfio_device_feature_mig_state", device_state=new, data_fd=-1)
    _, data = feature(device, _STATE | SET, bytes(ffi.buffer(request)))
    fd = int(capability("struct vfio_device_feature_mig_state", data).data_fd)
    return None if fd < 0 else DataFile(fd, f"migration data of {device.name}")


set_state_errno = errno_of(set_state)


def data_size(device: Device) -> int:
    """How many bytes are to be read in STOP_COPY, as an estimate."""
    none = struct("vfio_device_feature_mig_data_size")
    number = lib.VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
    _, data = feature(device, number | GET, bytes(ffi.buffer(none)))
    return int.from_bytes(data, "little")
