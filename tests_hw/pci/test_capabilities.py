"""This file checks what a user reaches by the registers that VFIO watches over (P8).

What the hardware's registers hold is read in sysfs. Source: linux/pci_regs.h, PCI Express Base
Specification, Device Control.
"""

import pytest

from vfio_hw.devices.edu import ACKNOWLEDGE, RAISE, acknowledged
from vfio_hw.host.pci import shown_config
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.config import CAPABILITY_MSI, COMMAND, COMMAND_MASTER
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
BAR0 = lib.VFIO_PCI_BAR0_REGION_INDEX
INTX = lib.VFIO_PCI_INTX_IRQ_INDEX
MSI = lib.VFIO_PCI_MSI_IRQ_INDEX
COMMAND_MEMORY, COMMAND_INTX_DISABLE = 1 << 1, 1 << 10
CAPABILITY_EXPRESS, DEVCAP, DEVCTL = 0x10, 0x04, 0x08
DEVCAP_FLR, DEVCTL_FLR = 1 << 28, 1 << 15
PAYLOAD_SHIFT, READRQ_SHIFT = 5, 12
MSI_FLAGS, MSI_ENABLE, MSI_QMASK, MSI_QSIZE = 0x02, 0x0001, 0x000E, 0x0070
# Of e1000e, 4 bytes that a reset clears: TDBAL (Intel 82574 datasheet, register descriptions).
SCRATCH = 0x3800
BIT = 1 << 4
PROMPT, WATCHED = 5.0, 0.1


def physical(function, offset: int, width: int) -> int:
    """A register of the hardware."""
    return int.from_bytes(shown_config(function.path, offset, width), "little")


@pytest.mark.promise("P8")
@pytest.mark.parametrize("kind", ["e1000e", "nvme"])
def test_the_bit_of_a_function_level_reset_reads_as_zero_and_keeps_what_was_configured(
    request, kind
):
    """Also where there is no such reset: then the registers stay as they are, too."""
    function = request.getfixturevalue(kind)
    with opened(function.path, MODE) as user:
        space, registers = user.device.config(), user.device.region(BAR0)
        express = space.capability(CAPABILITY_EXPRESS)
        space.put(COMMAND, 2, COMMAND_MASTER | COMMAND_MEMORY)
        control, first = space.get(express + DEVCTL, 2), registers.get(0, 4)
        if kind == "e1000e":
            registers.put(SCRATCH, 4, 0x12345670)
        for _ in range(2):
            space.put(express + DEVCTL, 2, control | DEVCTL_FLR)
            assert space.get(express + DEVCTL, 2) == control
            assert space.get(COMMAND, 2) & (COMMAND_MASTER | COMMAND_MEMORY) == (
                COMMAND_MASTER | COMMAND_MEMORY
            )
            assert registers.get(0, 4) == first
        if kind == "e1000e":
            can = physical(function, express + DEVCAP, 4) & DEVCAP_FLR
            assert registers.get(SCRATCH, 4) == (0 if can else 0x12345670)


@pytest.mark.promise("P8")
def test_the_size_of_payloads_is_the_host_s_and_reads_are_no_smaller(e1000e):
    """Other sizes would break what other devices send on the way, or be slow."""
    with opened(e1000e.path, MODE) as user:
        space = user.device.config()
        control = space.capability(CAPABILITY_EXPRESS) + DEVCTL
        payload = physical(e1000e, control, 2) >> PAYLOAD_SHIFT & 7
        rest = space.get(control, 2) & ~(7 << PAYLOAD_SHIFT | 7 << READRQ_SHIFT)
        for size in range(6):
            wanted = rest | size << PAYLOAD_SHIFT | size << READRQ_SHIFT
            space.put(control, 2, wanted)
            assert space.get(control, 2) == wanted
            there = physical(e1000e, control, 2)
            assert there >> PAYLOAD_SHIFT & 7 == payload
            # Some functions read in one size only, whatever is written.
            assert there >> READRQ_SHIFT & 7 >= payload


@pytest.mark.promise("P8")
def test_config_space_alone_turns_no_msi_on(edu):
    """Where MSI goes is the kernel's to say: by VFIO_DEVICE_SET_IRQS, or not at all."""
    with opened(edu.path, MODE) as user, acknowledged(user.device) as registers:
        space = user.device.config()
        space.enable_master()
        flags = space.capability(CAPABILITY_MSI) + MSI_FLAGS
        before = space.get(flags, 2)
        space.put(flags, 2, before | MSI_ENABLE)
        assert not space.get(flags, 2) & MSI_ENABLE
        assert not physical(edu, flags, 2) & MSI_ENABLE
        with irq.armed(user.device, MSI) as [eventfd]:
            space.put(flags, 2, before | MSI_ENABLE)
            assert space.get(flags, 2) & MSI_ENABLE
            registers.put(RAISE, 4, BIT)
            assert eventfd.wait(PROMPT) == 1
            registers.put(ACKNOWLEDGE, 4, BIT)
            space.put(flags, 2, before)
            assert not physical(edu, flags, 2) & MSI_ENABLE


@pytest.mark.promise("P8")
def test_no_more_messages_are_asked_for_than_the_function_has(edu):
    with opened(edu.path, MODE) as user:
        space = user.device.config()
        flags = space.capability(CAPABILITY_MSI) + MSI_FLAGS
        most = (space.get(flags, 2) & MSI_QMASK) >> 1
        with irq.armed(user.device, MSI):
            space.put(flags, 2, MSI_ENABLE | MSI_QSIZE)
            assert (space.get(flags, 2) & MSI_QSIZE) >> 4 == most


@pytest.mark.promise("P8")
def test_intx_does_not_arrive_while_config_space_disables_it(edu):
    with opened(edu.path, MODE) as user, acknowledged(user.device) as registers:
        space = user.device.config()
        command = space.get(COMMAND, 2) & ~COMMAND_INTX_DISABLE
        with irq.armed(user.device, INTX) as [eventfd]:
            space.put(COMMAND, 2, command | COMMAND_INTX_DISABLE)
            registers.put(RAISE, 4, BIT)
            assert eventfd.silent(WATCHED), "INTx came while it was disabled"
            assert space.get(COMMAND, 2) & COMMAND_INTX_DISABLE
            space.put(COMMAND, 2, command)
            assert eventfd.wait(PROMPT) == 1
            assert not space.get(COMMAND, 2) & COMMAND_INTX_DISABLE
            registers.put(ACKNOWLEDGE, 4, BIT)
            irq.unmask(user.device, INTX)
            registers.put(RAISE, 4, BIT)
            assert eventfd.wait(PROMPT) == 1
