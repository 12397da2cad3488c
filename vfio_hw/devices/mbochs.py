"""The sample display mbochs: the registers of its mode.

Source: samples/vfio-mdev/mbochs.c of the kernel, docs/specs/standard-vga.rst of QEMU.
"""

from dataclasses import dataclass

from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.gfx import DMABUF, Plane, query_plane, query_plane_errno

#: Numbers of registers, 2 bytes each, from offset 0x500 of BAR 2 on.
XRES, YRES, BPP, ENABLE, VIRT_WIDTH, X_OFFSET, Y_OFFSET = 1, 2, 3, 4, 6, 8, 9
#: Memory, in units of 64 KiB.
VIDEO_MEMORY = 10
_REGISTERS, _ENABLED = 0x500, 1
#: Where BAR 2 shows the EDID, while the link is up.
SHOWN_EDID = 0


@dataclass(frozen=True)
class Mode:
    """What the primary plane is to show: pixels of 4 bytes from (``x``, ``y``) of the memory on.

    A line in memory has ``virtual_width`` pixels, or ``width`` when that is more.
    """

    width: int
    height: int
    virtual_width: int = 0
    x: int = 0
    y: int = 0
    bits: int = 32

    @property
    def stride(self) -> int:
        """Bytes of a line in memory."""
        return max(self.width, self.virtual_width) * 4

    @property
    def offset(self) -> int:
        """Where the first pixel is, in bytes from the start of the memory."""
        return self.x * 4 + self.y * self.stride


def mode(width: int, height: int) -> list[tuple[int, int]]:
    """What to write, 2 bytes each, where in BAR 2, for the primary plane to show so many pixels."""
    values = ((XRES, width), (YRES, height), (BPP, 32), (ENABLE, _ENABLED))
    return [(_REGISTERS + 2 * number, value) for number, value in values]


def get_register(device: Device, number: int) -> int:
    """Read one of the registers."""
    bar = device.region(lib.VFIO_PCI_BAR2_REGION_INDEX)
    return bar.get(_REGISTERS + 2 * number, 2)


def put_register(device: Device, number: int, value: int) -> None:
    """Write one of the registers."""
    bar = device.region(lib.VFIO_PCI_BAR2_REGION_INDEX)
    bar.put(_REGISTERS + 2 * number, 2, value)


def show(device: Device, mode: Mode) -> None:
    """Let the primary plane show this."""
    hide(device)
    for number, value in (
        (XRES, mode.width),
        (YRES, mode.height),
        (BPP, mode.bits),
        (VIRT_WIDTH, mode.virtual_width),
        (X_OFFSET, mode.x),
        (Y_OFFSET, mode.y),
        (ENABLE, _ENABLED),
    ):
        put_register(device, number, value)


def hide(device: Device) -> None:
    """Let the primary plane show nothing."""
    put_register(device, ENABLE, 0)


def shown(device: Device, mode: Mode) -> Plane:
    """What the device says of its primary plane while it shows this.

    It is asked twice: 7.3 makes the buffer of a new mode at the first question, and refuses that
    one with ENOMEM.
    """
    show(device, mode)
    query_plane_errno(device, DMABUF)
    return query_plane(device, DMABUF)
