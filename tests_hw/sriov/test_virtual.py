"""This file checks the virtual functions that vfio-pci makes: how they come and go (P1 to P4).

Source: the description of vfio-pci's module parameter enable_sriov; 137e5531351d "vfio/pci: Add
sriov_configure support"; Documentation/ABI/testing/sysfs-bus-pci, sriov_numvfs.
"""

import errno
import time
from collections.abc import Callable
from uuid import UUID

import pytest

from tests_hw.sriov.conftest import answer, through_cdev
from vfio_hw.errors import KernelRefused
from vfio_hw.host import sriov
from vfio_hw.host.blocking import BlockingWrite, write_with_deadline
from vfio_hw.host.parameter import parameter
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.sysfs import attribute, names_in
from vfio_hw.uapi import lib
from vfio_hw.vfio import irq
from vfio_hw.vfio.config import DEVICE, VENDOR
from vfio_hw.vfio.container import Container
from vfio_hw.vfio.descriptor import errno_of, open_node
from vfio_hw.vfio.feature import enter_low_power, exit_low_power
from vfio_hw.vfio.group import Group
from vfio_hw.vfio.names import NODES, cdev_path, group_path

pytestmark = pytest.mark.machine("sr-iov")

TOKEN = UUID(int=0x5678 << 64)
PROMPT, WATCHED = 5.0, 0.3
GONE = (errno.ENODEV, errno.ENOENT, errno.ENXIO)
# Source: linux/pci_regs.h, PCI_CAP_ID_PM, PCI_PM_CTRL and PCI_PM_CTRL_STATE_MASK.
CAPABILITY_POWER, POWER_CONTROL, POWER_STATE, D0, D3HOT = 0x01, 4, 3, 0, 3


@pytest.fixture
def known(physical, opening):
    """The physical function, whose token is TOKEN."""
    with opening(physical, TOKEN):
        pass
    return physical


@pytest.mark.promise("P4")
@pytest.mark.promise("P8")
def test_as_many_come_as_are_asked_for_and_all_go(physical):
    """Each is vfio-pci's at once, whoever else could drive it, and has nodes of its own."""
    before = [names_in(NODES), names_in(NODES / "devices")]
    for number in (1, sriov.most(physical)):
        with sriov.enabled(physical, number) as found:
            assert [each.driver for each in found] == ["vfio-pci"] * number
            assert len({cdev_path(each.path) for each in found}) == number
            for each in found:
                assert cdev_path(each.path).is_char_device()
                assert group_path(each.path).is_char_device()
        assert [names_in(NODES), names_in(NODES / "devices")] == before
        assert not any(each.exists for each in found)


@pytest.mark.promise("P8")
@pytest.mark.promise("P7")
def test_none_come_unless_vfio_pci_is_told_so(physical):
    with parameter("vfio_pci", "enable_sriov", "N"):
        with pytest.raises(KernelRefused):
            write_with_deadline(physical.path / "sriov_numvfs", "1", PROMPT)
        assert attribute(physical.path / "sriov_numvfs") == "0"
        assert sriov.virtual(physical) == []
    with sriov.enabled(physical) as found:
        assert len(found) == 1


@pytest.mark.promise("P8")
def test_a_virtual_function_shows_what_only_its_physical_one_has(known, one, opening):
    """The ids, which its own config space has not, and no INTx. Source: SR-IOV 1.1, 3.4.1."""
    with opening(one, TOKEN) as device:
        config = device.config()
        assert (config.get(VENDOR, 2), config.get(DEVICE, 2)) == (one.vendor, one.device)
        assert device.irq(lib.VFIO_PCI_INTX_IRQ_INDEX).count == 0
        assert device.irq(lib.VFIO_PCI_MSIX_IRQ_INDEX).count > 0
        size = device.region(lib.VFIO_PCI_BAR0_REGION_INDEX).size
        first, last, _ = (one.path / "resource").read_text().splitlines()[0].split()
        assert size == int(last, 16) - int(first, 16) + 1


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
def test_taking_them_away_waits_for_the_user_of_one(known, opening):
    """He is asked for it; then all are gone at once, and the physical function stays."""
    with sriov.enabled(known, 2) as [first, second], opening(known, TOKEN) as device:
        with (
            opening(first, TOKEN) as held,
            irq.armed(held, lib.VFIO_PCI_REQ_IRQ_INDEX) as [request],
            sriov.disabling(known) as going,
        ):
            assert request.wait(PROMPT) == 1
            assert going.wait(WATCHED) is None
            held.close()
            going.must_return(PROMPT)
        assert not first.exists
        assert not second.exists
        assert device.info_errno() == 0
        assert device.config().get(VENDOR, 2) == known.vendor
    assert answer(opening, known) == 0, "a virtual function that is gone still counts"


@pytest.mark.promise("P1")
def test_one_that_goes_away_is_not_opened_anew(physical):
    with through_cdev(physical, TOKEN):
        pass
    with sriov.enabled(physical) as [function], through_cdev(function, TOKEN) as held:
        node = cdev_path(function.path)
        with sriov.disabling(physical) as going:
            assert going.wait(WATCHED) is None
            assert errno_of(open_node)(node) in GONE
            held.close()
            going.must_return(PROMPT)


@pytest.mark.promise("P1")
@pytest.mark.promise("P4")
def test_one_that_goes_away_is_not_got_anew_from_its_open_group(physical):
    with through_cdev(physical, TOKEN):
        pass
    with (
        sriov.enabled(physical) as [function],
        Container() as container,
        Group(function.iommu_group) as group,
    ):
        group.set_container(container)
        container.set_iommu(lib.VFIO_TYPE1v2_IOMMU)
        with (
            group.device(function.address, TOKEN) as held,
            sriov.disabling(physical) as going,
        ):
            assert going.wait(WATCHED) is None
            assert group.device_errno(function.address, TOKEN) == errno.ENODEV
            held.close()
            going.must_return(PROMPT)
        assert group.device_errno(function.address, TOKEN) == errno.ENODEV


@pytest.mark.promise("P1")
@pytest.mark.promise("P2")
@pytest.mark.parametrize("held", ["virtual", "both"])
def test_the_physical_function_goes_when_both_are_given_up(known, opening, held):
    """Unbinding it takes the virtual ones first, and asks their users, then its own."""
    with sriov.enabled(known) as [function], opening(function, TOKEN) as one:
        with (
            opening(known, TOKEN) as physical,
            irq.armed(one, lib.VFIO_PCI_REQ_IRQ_INDEX) as [first],
            irq.armed(physical, lib.VFIO_PCI_REQ_IRQ_INDEX) as [second],
        ):
            if held == "virtual":
                physical.close()
            with BlockingWrite(
                (known.path / "driver").resolve() / "unbind", known.address
            ) as going:
                assert first.wait(PROMPT) == 1
                assert going.wait(WATCHED) is None
                one.close()
                if held == "both":
                    assert second.wait(PROMPT) == 1
                    assert going.wait(WATCHED) is None
                    assert not function.exists
                    physical.close()
                going.must_return(PROMPT)
        assert not function.exists
        assert known.driver is None


@pytest.mark.promise("P8")
def test_the_physical_function_stays_awake_for_its_virtual_ones(known, opening):
    """Its user does not put it to sleep by the feature, as he does when it has none."""
    with opening(known, TOKEN) as device:
        enter_low_power(device)
        assert within(PROMPT, lambda: status_of(known) == "suspended")
        exit_low_power(device)
        assert status_of(known) == "active"
        with sriov.enabled(known) as [function]:
            enter_low_power(device)
            assert not within(WATCHED, lambda: status_of(known) != "active")
            with opening(function, TOKEN) as one:
                assert one.config().get(VENDOR, 2) == function.vendor
        assert within(PROMPT, lambda: status_of(known) == "suspended")


@pytest.mark.promise("P8")
def test_the_physical_function_stays_in_d0_for_its_virtual_ones(known, opening):
    """Its own register does not put it into D3hot, as it does when it has none; it leaves D3hot for
    them. Source: PCI-PM 1.2, 3.2.4; power_state in Documentation/ABI/testing/sysfs-bus-pci.
    """
    with opening(known, TOKEN) as device:
        config = device.config()
        control = config.capability(CAPABILITY_POWER) + POWER_CONTROL

        def sleep() -> int:
            config.put(control, 2, config.get(control, 2) & ~POWER_STATE | D3HOT)
            return config.get(control, 2) & POWER_STATE

        assert sleep() == D3HOT
        with sriov.enabled(known) as [function], opening(function, TOKEN) as one:
            assert config.get(control, 2) & POWER_STATE == D0
            assert sleep() == D0
            assert attribute(known.path / "power_state") == "D0"
            assert one.config().get(VENDOR, 2) == function.vendor
        assert sleep() == D3HOT


@pytest.mark.promise("P3")
def test_numbers_and_nodes_come_back_every_time(physical):
    rounds = []
    for _ in range(5):
        with sriov.enabled(physical, 2) as found:
            nodes = [cdev_path(each.path).name for each in found]
        assert not set(nodes) & set(names_in(NODES / "devices"))
        rounds.append(nodes)
    assert rounds == [rounds[0]] * 5
    with pytest.raises(KernelRefused) as refused:
        write_with_deadline(physical.path / "sriov_numvfs", "1000", PROMPT)
    assert refused.value.errno == errno.ERANGE


def status_of(function: PciFunction) -> str | None:
    """Of its runtime power management: Documentation/ABI/testing/sysfs-devices-power."""
    return attribute(function.path / "power" / "runtime_status")


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """It holds once before so many seconds have passed."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
