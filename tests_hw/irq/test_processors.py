"""This file checks that interrupts arrive when a processor that they were sent to has gone (P8).

Source: Documentation/core-api/cpu_hotplug.rst; Documentation/core-api/irq/irq-affinity.rst.
"""

import os

import pytest

from vfio_hw.devices.edu import ACKNOWLEDGE, RAISE
from vfio_hw.errors import Unsupported
from vfio_hw.host import cpus
from vfio_hw.host.interrupts import sent_to
from vfio_hw.host.sysfs import write
from vfio_hw.plugin import IN_GUEST
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq

INDICES = {"INTX": lib.VFIO_PCI_INTX_IRQ_INDEX, "MSI": lib.VFIO_PCI_MSI_IRQ_INDEX}
PROMPT, WATCHED = 5.0, 0.1


@pytest.fixture
def cpu() -> int:
    """One that may be taken away, and is not ours to take on a real machine."""
    if not os.environ.get(IN_GUEST):
        raise Unsupported("processors are taken away in a guest only")
    return cpus.removable()


@pytest.mark.promise("P8")
@pytest.mark.parametrize("name", INDICES)
def test_an_interrupt_outlives_the_processor_that_it_was_sent_to(opened_edu, cpu, name):
    """And goes on when the processor is back; none comes twice, and none that was not raised."""
    device, registers = opened_edu
    device.config().enable_master()

    def arrives() -> None:
        registers.put(RAISE, 4, 1)
        assert eventfd.wait(PROMPT) == 1
        registers.put(ACKNOWLEDGE, 4, 1)
        if name == "INTX":
            irq.unmask(device, INDICES[name])
        assert eventfd.silent(WATCHED)

    with irq.armed(device, INDICES[name]) as [eventfd]:
        affinity = sent_to(device.name)
        write(affinity, str(cpu))
        assert affinity.read_text().strip() == str(cpu)
        arrives()
        with cpus.without(cpu):
            assert affinity.read_text().strip() != str(cpu)
            arrives()
        arrives()
