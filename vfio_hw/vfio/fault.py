"""Queues of IO page faults. Source: linux/iommufd.h, IOMMU_FAULT_QUEUE_ALLOC."""

import os
import select

from vfio_hw.errors import KernelRefused
from vfio_hw.uapi import ffi, ioctl, struct
from vfio_hw.vfio.descriptor import Descriptor, errno_of

FAULT_SIZE: int = ffi.sizeof("struct iommu_hwpt_pgfault")


class FaultQueue(Descriptor):
    """A queue of faults, open; ``id`` is its number in the iommufd, where it stays when closed."""

    def __init__(self, iommufd: Descriptor) -> None:
        request = struct("iommu_fault_alloc")
        ioctl(iommufd.fileno(), "IOMMU_FAULT_QUEUE_ALLOC", request, on=iommufd.name)
        self.id = int(request.out_fault_id)
        super().__init__(request.out_fault_fd, f"fault queue {self.id} of {iommufd.name}")

    def read(self, count: int = 16 * FAULT_SIZE) -> bytes:
        """The faults that wait, each a struct iommu_hwpt_pgfault; none when there is none.

        :raises KernelRefused: with the errno of the read.
        """
        try:
            return os.read(self.fileno(), count)
        except OSError as error:
            raise KernelRefused(error.errno or 0, "read", self.name) from None

    read_errno = errno_of(read)

    def respond(self, responses: bytes) -> int:
        """Answer faults, each with a struct iommu_hwpt_page_response; returns the bytes taken.

        :raises KernelRefused: EINVAL for a cookie that no fault had, or a code that is none.
        """
        try:
            return os.write(self.fileno(), responses)
        except OSError as error:
            raise KernelRefused(error.errno or 0, "write", self.name) from None

    respond_errno = errno_of(respond)

    def polled(self) -> int:
        """What poll(2) says of it now."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN | select.POLLOUT)
        return next((events for _, events in poll.poll(0)), 0)
