"""This file checks that a device in use outlives the processors that it has to do with (P8, P9).

Source: Documentation/core-api/cpu_hotplug.rst; Documentation/core-api/irq/irq-affinity.rst.
"""

import os

import pytest

from tests_hw.hotplug.conftest import in_slot
from vfio_hw.devices.edu import ACKNOWLEDGE, RAISE
from vfio_hw.host.blocking import BlockingWrite
from vfio_hw.host.interrupts import sent_to
from vfio_hw.host.processor import Processor, processor
from vfio_hw.host.sysfs import write
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.dma import mapped
from vfio_hw.vfio.opened import opened

pytestmark = pytest.mark.machine("hot-plug")

MODES = ["vfio_type1v2_iommu", "iommufd"]
INDICES = {"INTX": lib.VFIO_PCI_INTX_IRQ_INDEX, "MSI": lib.VFIO_PCI_MSI_IRQ_INDEX}
PROMPT, WATCHED = 5.0, 0.1


@pytest.fixture
def pulled(qmp) -> Processor:
    """A processor to be pulled out, by a test that ends with the guest."""
    return processor(qmp)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("name", INDICES)
def test_an_interrupt_outlives_the_processor_that_is_pulled_out(qmp, pulled, name):
    """It goes to another one then; none is lost, and none comes twice."""
    with in_slot(qmp, "edu") as plugged, opened(plugged.function.path, MODES[0]) as user:
        user.device.config().enable_master()
        registers = user.device.region(lib.VFIO_PCI_BAR0_REGION_INDEX)

        def arrives() -> None:
            registers.put(RAISE, 4, 1)
            assert eventfd.wait(PROMPT) == 1
            registers.put(ACKNOWLEDGE, 4, 1)
            if name == "INTX":
                irq.unmask(user.device, INDICES[name])
            assert eventfd.silent(WATCHED)

        with irq.armed(user.device, INDICES[name]) as [eventfd]:
            affinity = sent_to(user.device.name)
            write(affinity, str(pulled.number))
            assert affinity.read_text().strip() == str(pulled.number)
            arrives()
            pulled.pull()
            assert affinity.read_text().strip() != str(pulled.number)
            arrives()
    qmp.reset()


@pytest.mark.promise("P3")
@pytest.mark.parametrize("mode", MODES)
def test_a_device_is_let_go_by_who_has_lost_his_processor(qmp, pulled, mode):
    """He opened it, and mapped memory, on one that is there no more; and the removal ends."""
    with in_slot(qmp, "e1000e") as plugged:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {pulled.number})
        with (
            opened(plugged.function.path, mode) as user,
            BlockingWrite(plugged.function.path / "remove", "1") as removal,
        ):
            with mapped(user.iommu):
                pulled.pull()
                assert os.sched_getaffinity(0) == before - {pulled.number}
                assert user.device.info_errno() == 0
                assert removal.wait(WATCHED) is None
            user.device.close()
            removal.must_return(PROMPT)
        assert not plugged.function.exists
    qmp.reset()
