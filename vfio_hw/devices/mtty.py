"""The sample driver's serial port: a 16550A whose output is its input.

Source: linux/serial_reg.h, whose names these are, and the section on mtty in
Documentation/driver-api/vfio-mediated-device.rst.
"""

from vfio_hw.vfio.region import Region

#: Offsets in the BAR of a port, one byte each. Some are two registers: one is written, one is read.
TX = RX = 0
IER = 1
FCR = IIR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7
#: While LCR_DLAB is set, the divisor is where TX and IER were.
DLL, DLM = 0, 1

IER_RDI, IER_THRI, IER_RLSI, IER_MSI = 0x01, 0x02, 0x04, 0x08
IIR_NO_INT, IIR_MSI, IIR_THRI, IIR_RDI, IIR_RLSI = 0x01, 0x00, 0x02, 0x04, 0x06
IIR_MASK = 0x0F
FCR_ENABLE_FIFO, FCR_CLEAR_RCVR, FCR_CLEAR_XMIT = 0x01, 0x02, 0x04
FCR_TRIGGERS = {1: 0x00, 4: 0x40, 8: 0x80, 14: 0xC0}
LCR_DLAB = 0x80
MCR_DTR, MCR_RTS, MCR_OUT2, MCR_AFE = 0x01, 0x02, 0x08, 0x20
LSR_DR, LSR_OE, LSR_THRE, LSR_TEMT = 0x01, 0x02, 0x20, 0x40
MSR_CTS = 0x10

FIFO = 16
"""Bytes that a port holds between TX and RX, while its FIFO is enabled."""


def fifo(registers: Region, *, enabled: bool = True, trigger: int = 1) -> None:
    """Empty the port, and let it hold FIFO bytes or one."""
    control = FCR_CLEAR_RCVR | FCR_CLEAR_XMIT | FCR_TRIGGERS[trigger]
    registers.put(FCR, 1, control | (FCR_ENABLE_FIFO if enabled else 0))


def put(registers: Region, data: bytes) -> None:
    """Put bytes into the port, each by an access of its own."""
    for byte in data:
        registers.put(TX, 1, byte)


def got(registers: Region, most: int = 2 * FIFO) -> bytes:
    """What comes out of the port until it says that there is no more."""
    found = bytearray()
    while len(found) < most and registers.get(LSR, 1) & LSR_DR:
        found.append(registers.get(RX, 1))
    return bytes(found)
