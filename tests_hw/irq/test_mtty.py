"""This file checks the serial port of mtty: its data, and that its interrupts arrive (P8).

What a register does is that of a 16550A, by the names of linux/serial_reg.h. INTx masks itself as
it is signalled, MSI does not.
"""

import contextlib

import pytest

from vfio_hw.devices import mtty as serial
from vfio_hw.devices.mtty import FIFO, got, put
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.opened import opened

INTX = lib.VFIO_PCI_INTX_IRQ_INDEX
MSI = lib.VFIO_PCI_MSI_IRQ_INDEX
BOTH = pytest.mark.parametrize("index", [INTX, MSI], ids=["INTX", "MSI"])
PROMPT, WATCHED = 5.0, 0.1
DATA = bytes(range(0xA0, 0xA0 + FIFO))


@pytest.fixture
def port(mtty):
    """An open mtty, and the registers of its port, whose FIFO is enabled and empty."""
    with opened(mtty.path, "vfio_type1v2_iommu") as user:
        registers = user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)
        serial.fifo(registers)
        yield user.device, registers


@contextlib.contextmanager
def interrupting(port, index, enabled):
    """Arms an interrupt, and lets the port raise it for these reasons."""
    device, registers = port
    with irq.armed(device, index) as [eventfd]:
        registers.put(serial.IER, 1, enabled)
        yield eventfd


def arrives_again(port, index, eventfd, cause):
    """INTx is masked by the one before; MSI needs nothing."""
    device, _ = port
    if index == INTX:
        cause()
        assert eventfd.silent(WATCHED), "INTx came while it was masked"
        irq.unmask(device, index)
    cause()
    assert eventfd.wait(PROMPT) == 1


@pytest.mark.promise("P8")
def test_what_is_put_into_a_port_comes_out_in_order(port):
    _, registers = port
    for count in (1, 7, FIFO - 1, FIFO - 1):
        put(registers, DATA[:count])
        assert got(registers) == DATA[:count]
    assert registers.get(serial.LSR, 1) == serial.LSR_THRE | serial.LSR_TEMT


@pytest.mark.promise("P8")
def test_a_full_port_gives_all_of_it_back(port):
    _, registers = port
    put(registers, DATA)
    assert got(registers) == DATA


@pytest.mark.promise("P8")
@pytest.mark.parametrize(("enabled", "room"), [(True, FIFO), (False, 1)], ids=["FIFO", "no FIFO"])
def test_what_has_no_room_is_lost_and_told(port, enabled, room):
    _, registers = port
    serial.fifo(registers, enabled=enabled)
    put(registers, DATA[:room])
    assert registers.get(serial.LSR, 1) == serial.LSR_DR
    put(registers, b"!")
    assert registers.get(serial.LSR, 1) == serial.LSR_DR | serial.LSR_OE
    assert got(registers) == DATA[:room]


@pytest.mark.promise("P8")
def test_an_emptied_port_holds_nothing(port):
    _, registers = port
    put(registers, DATA[1:])
    serial.fifo(registers)
    assert got(registers) == b""
    put(registers, b"?")
    assert got(registers) == b"?"


@pytest.mark.promise("P8")
def test_the_divisor_is_behind_its_latch_and_touches_no_data(port):
    _, registers = port
    registers.put(serial.IER, 1, serial.IER_RDI)
    put(registers, b"x")
    registers.put(serial.LCR, 1, serial.LCR_DLAB | 3)
    registers.put(serial.DLL, 1, 0x34)
    registers.put(serial.DLM, 1, 0x12)
    assert (registers.get(serial.DLL, 1), registers.get(serial.DLM, 1)) == (0x34, 0x12)
    registers.put(serial.LCR, 1, 3)
    assert registers.get(serial.LCR, 1) == 3
    assert registers.get(serial.IER, 1) == serial.IER_RDI
    assert got(registers) == b"x"


@pytest.mark.promise("P8")
def test_registers_that_only_remember_do_and_those_that_only_tell_are_not_written(port):
    _, registers = port
    for register in (serial.SCR, serial.MCR):
        for value in (0x2A, 0x15):
            registers.put(register, 1, value)
            assert registers.get(register, 1) == value
    for register in (serial.LSR, serial.MSR):
        before = registers.get(register, 1)
        registers.put(register, 1, before ^ 0xFF)
        assert registers.get(register, 1) == before


@pytest.mark.promise("P8")
def test_with_automatic_flow_control_a_full_port_is_not_clear_to_send(port):
    _, registers = port
    serial.fifo(registers, enabled=False)
    registers.put(serial.MCR, 1, serial.MCR_AFE)
    assert registers.get(serial.MSR, 1) & serial.MSR_CTS
    put(registers, b"x")
    assert not registers.get(serial.MSR, 1) & serial.MSR_CTS
    got(registers)
    assert registers.get(serial.MSR, 1) & serial.MSR_CTS


@pytest.mark.promise("P8")
@BOTH
@pytest.mark.parametrize("trigger", serial.FCR_TRIGGERS)
def test_received_data_interrupts_when_its_level_is_reached_at_the_latest(port, index, trigger):
    _, registers = port
    serial.fifo(registers, trigger=trigger)
    with interrupting(port, index, serial.IER_RDI) as eventfd:
        assert registers.get(serial.IIR, 1) & serial.IIR_MASK == serial.IIR_NO_INT
        put(registers, DATA[:trigger])
        assert eventfd.wait(PROMPT) == 1
        assert registers.get(serial.IIR, 1) & serial.IIR_MASK == serial.IIR_RDI
        assert got(registers) == DATA[:trigger]
        assert registers.get(serial.IIR, 1) & serial.IIR_MASK == serial.IIR_NO_INT


@pytest.mark.promise("P8")
@BOTH
def test_lost_data_interrupts_each_time(port, index):
    _, registers = port
    serial.fifo(registers, enabled=False)
    put(registers, b"x")
    with interrupting(port, index, serial.IER_RLSI) as eventfd:
        assert eventfd.silent(WATCHED), "nothing was lost yet"
        put(registers, b"!")
        assert eventfd.wait(PROMPT) == 1
        assert registers.get(serial.IIR, 1) & serial.IIR_MASK == serial.IIR_RLSI
        arrives_again(port, index, eventfd, lambda: put(registers, b"!"))


@pytest.mark.promise("P8")
@BOTH
def test_an_empty_port_interrupts_who_wants_to_send(port, index):
    """At once when it is empty, and as the last byte leaves it."""
    _, registers = port
    with interrupting(port, index, serial.IER_THRI) as eventfd:
        assert eventfd.wait(PROMPT) == 1
        assert registers.get(serial.IIR, 1) & serial.IIR_MASK == serial.IIR_THRI

        def emptied():
            put(registers, b"xy")
            assert got(registers) == b"xy"

        arrives_again(port, index, eventfd, emptied)


@pytest.mark.promise("P8")
@BOTH
@pytest.mark.parametrize("line", ["MCR_RTS", "MCR_DTR"])
def test_a_change_of_the_modem_s_lines_interrupts(port, index, line):
    _, registers = port
    with interrupting(port, index, serial.IER_MSI) as eventfd:
        assert eventfd.silent(WATCHED)
        registers.put(serial.MCR, 1, getattr(serial, line))
        assert eventfd.wait(PROMPT) == 1


@pytest.mark.promise("P8")
def test_a_port_that_has_interrupted_for_the_modem_s_lines_says_so(port):
    with interrupting(port, MSI, serial.IER_MSI) as eventfd:
        _, registers = port
        registers.put(serial.MCR, 1, serial.MCR_RTS)
        assert eventfd.wait(PROMPT) == 1
        assert not registers.get(serial.IIR, 1) & serial.IIR_NO_INT, "it says that nothing is"


@pytest.mark.promise("P8")
@BOTH
def test_a_port_that_may_not_interrupt_does_not(port, index):
    _, registers = port
    with interrupting(port, index, 0) as eventfd:
        put(registers, DATA + b"!")
        registers.put(serial.MCR, 1, serial.MCR_RTS | serial.MCR_OUT2)
        got(registers)
        assert eventfd.silent(WATCHED)


@pytest.mark.promise("P8")
def test_the_bars_are_as_large_as_the_regions(port):
    device, _ = port
    sizes = [device.region(lib.VFIO_PCI_BAR0_REGION_INDEX + number).size for number in range(6)]
    assert [device.config().bar_size(number) for number in range(6)] == sizes


@pytest.mark.promise("P8")
def test_two_ports_of_one_device_hold_their_own_data():
    with (
        created(type_by_id("mtty-2")) as mdev,
        opened(mdev.path, "vfio_type1v2_iommu") as user,
    ):
        ports = [user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX + n) for n in range(2)]
        for registers in ports:
            serial.fifo(registers)
        put(ports[0], b"first")
        put(ports[1], b"second")
        assert (got(ports[0]), got(ports[1])) == (b"first", b"second")
        ports[0].put(serial.SCR, 1, 0x5A)
        assert ports[1].get(serial.SCR, 1) == 0
