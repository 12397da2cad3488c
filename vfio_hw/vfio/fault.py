"""Queues of IO page faults. Source: linux/iommufd.h, IOMMU_FAULT_QUEUE_ALLOC."""

import os
import select

from vfio_hw.errors import KernelRefused
from vfio_hw.uapi import calls, ffi, ioctl, struct
from vfio_hw.uapi.families_iommufd import RESPONSES
from vfio_hw.vfio.descriptor import Descriptor, errno_of
from vfio_hw.vfio.info import capability

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
            taken = os.write(self.fileno(), responses)
        except OSError as error:
            _note("refused", responses)
            raise KernelRefused(error.errno or 0, "write", self.name) from None
        _note("positive", responses[:taken])
        return taken

    respond_errno = errno_of(respond)

    def polled(self) -> int:
        """What poll(2) says of it now."""
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN | select.POLLOUT)
        return next((events for _, events in poll.poll(0)), 0)


def _note(outcome: str, responses: bytes) -> None:
    """The answers are items of the headers, which no ioctl takes."""
    size = ffi.sizeof("struct iommu_hwpt_page_response")
    for start in range(0, len(responses) - size + 1, size):
        one = capability("struct iommu_hwpt_page_response", responses[start:])
        calls.note_items(outcome, RESPONSES.named(int(one.code)))
