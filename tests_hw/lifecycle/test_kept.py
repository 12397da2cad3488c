"""This file checks that whatever keeps a device open keeps its removal waiting (P1)."""

import contextlib
import ctypes
import mmap
import os
import socket
from collections.abc import Iterator

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.fixtures import Target
from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.dma import PAGE
from vfio_hw.vfio.opened import opened
from vfio_hw.vfio.region import Region

WATCHED = 0.5
PROMPT = 5.0
MODES = ["vfio_type1v2_iommu", "iommufd"]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


@contextlib.contextmanager
def only_mapped(region: Region) -> Iterator[ctypes.c_uint32]:
    """The first word of the region, mapped inside."""
    # Python's own mmap would keep a descriptor of the device too.
    fd = region.device.fileno()
    address = _libc.mmap(None, PAGE, mmap.PROT_READ, mmap.MAP_SHARED, fd, region.offset)
    if address == ctypes.c_void_p(-1).value:
        raise HarnessError(f"mmap of {region}: {os.strerror(ctypes.get_errno())}: see its flags")
    try:
        yield ctypes.c_uint32.from_address(address)
    finally:
        _libc.munmap(address, PAGE)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("mode", MODES)
def test_a_descriptor_on_its_way_keeps_the_removal_waiting(device: Target, mode):
    """Nobody has it, it is in a socket; then who has got it uses it, and closes it."""
    ours, theirs = socket.socketpair()
    with ours, theirs, opened(device.path, mode) as user:
        socket.send_fds(ours, [b"x"], [user.device.fileno()])
        user.device.close()
        with device.removal() as removal:
            assert removal.wait(WATCHED) is None, "removed while its descriptor was on its way"
            _, [received], _, _ = socket.recv_fds(theirs, 1, 1)
            with Device(received, device.name) as arrived:
                assert arrived.info_errno() == 0
                assert removal.wait(WATCHED) is None, "removed while its descriptor had arrived"
            removal.must_return(PROMPT)


@pytest.mark.promise("P1")
@pytest.mark.parametrize("mode", MODES)
def test_a_descriptor_that_nobody_fetches_goes_with_its_socket(device: Target, mode):
    ours, theirs = socket.socketpair()
    with ours, theirs, opened(device.path, mode) as user:
        socket.send_fds(ours, [b"x"], [user.device.fileno()])
        user.device.close()
        with device.removal() as removal:
            ours.close()
            assert removal.wait(WATCHED) is None, "removed while its descriptor could be fetched"
            theirs.close()
            removal.must_return(PROMPT)


@pytest.mark.promise("P1")
@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_a_mapping_keeps_the_removal_waiting(pci_device: Target, mode):
    """It is the last to go, and shows the device's registers until then."""
    with opened(pci_device.path, mode) as user, contextlib.ExitStack() as mapping:
        region = user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
        word, expected = mapping.enter_context(only_mapped(region)), region.get(0, 4)
        user.device.close()
        with pci_device.removal() as removal:
            assert removal.wait(WATCHED) is None, "removed while its memory was mapped"
            assert word.value == expected
            mapping.close()
            removal.must_return(PROMPT)
