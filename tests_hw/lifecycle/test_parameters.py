"""This file checks what parameters of the module vfio-pci do (P8, P3).

Source: modinfo vfio-pci. That a device keeps what was said when it was bound,
tests_hw/contract/test_shown.py checks.
"""

import contextlib
import time
from collections.abc import Iterator

import pytest

from vfio_hw.devices.edu import ACKNOWLEDGE, RAISE, acknowledged
from vfio_hw.errors import Unsupported
from vfio_hw.host import modules
from vfio_hw.host.binding import bound_to
from vfio_hw.host.inventory import functions
from vfio_hw.host.parameter import MODULES, parameter
from vfio_hw.host.pci import KINDS, PciFunction, shown_config
from vfio_hw.host.sysfs import attribute
from vfio_hw.uapi import lib
from vfio_hw.vfio import config, irq
from vfio_hw.vfio.irq import armed
from vfio_hw.vfio.opened import opened

MODE = "vfio_type1v2_iommu"
INTX = lib.VFIO_PCI_INTX_IRQ_INDEX
INTX_DISABLE = 1 << 10  # of the command register: PCI_COMMAND_INTX_DISABLE in linux/pci_regs.h
PROMPT, WATCHED = 5.0, 0.3
E1000E = ":".join(f"{number:x}" for number in KINDS["e1000e"])


@contextlib.contextmanager
def loaded_with(*parameters: str) -> Iterator[set[PciFunction]]:
    """vfio-pci is loaded with these parameters inside; the functions that it takes then.

    To be used with the fixture own_modules.
    """
    modules.unload("vfio-pci")
    modules.load("vfio-pci", *parameters)
    try:
        yield {each for each in functions() if each.driver == "vfio-pci"}
    finally:
        modules.unload("vfio-pci")


def of(kind: str) -> set[PciFunction]:
    return {each for each in functions() if each.kind == kind}


@pytest.mark.promise("P8")
@pytest.mark.parametrize(
    "form", ["{}", "{}:ffffffff:ffffffff:20000:ffff00", ",nothing,{}", "1:2,{}"]
)
def test_functions_are_taken_by_their_ids_when_the_module_is_loaded(own_modules, form):
    """All of these ids and no other; they are free when it is gone, and work meanwhile."""
    with loaded_with(f"ids={form.format(E1000E)}") as taken:
        assert taken == of("e1000e")
        for function in taken:
            assert function.driver_override is None
        with opened(min(taken, key=str).path, MODE) as user:
            assert user.device.info().flags & lib.VFIO_DEVICE_FLAGS_PCI
    assert {each.driver for each in of("e1000e")} == {None}


@pytest.mark.promise("P8")
@pytest.mark.parametrize("form", ["", "{}:1", "{}:ffffffff:1", "{}:ffffffff:ffffffff:10000:ffff00"])
def test_functions_that_differ_in_what_is_given_are_not_taken(own_modules, form):
    """In the ids of their subsystem, or in their class; without ids none is taken."""
    with loaded_with(*([f"ids={form.format(E1000E)}"] if form else [])) as taken:
        assert taken == set()


@pytest.mark.promise("P8")
@pytest.mark.parametrize("value", ["Y", "N"])
def test_whether_there_is_a_denylist_is_said_when_the_module_is_loaded(
    own_modules, free_e1000e, value
):
    """And stays so until it is unloaded. A device that is in no such list is bound either way."""
    with loaded_with(f"disable_denylist={value}"):
        path = MODULES / "vfio_pci" / "parameters" / "disable_denylist"
        assert attribute(path) == value
        assert path.stat().st_mode & 0o777 == 0o444
        with bound_to(free_e1000e, "vfio-pci"), opened(free_e1000e.path, MODE) as user:
            assert user.device.info_errno() == 0
    with loaded_with():
        assert attribute(path) == "N"


def disabled(function: PciFunction) -> bool:
    """Whether the function itself keeps its INTx back."""
    command = int.from_bytes(shown_config(function.path, config.COMMAND, 2), "little")
    return bool(command & INTX_DISABLE)


@pytest.mark.promise("P8")
@pytest.mark.parametrize("value", ["Y", "N"])
def test_intx_is_masked_in_the_function_unless_nointxmask_forbids_it(free_edu, value):
    """It masks itself and is unmasked all the same, and comes again while it is asserted."""
    with (
        parameter("vfio_pci", "nointxmask", value),
        bound_to(free_edu, "vfio-pci"),
        opened(free_edu.path, MODE) as user,
        acknowledged(user.device) as registers,
        armed(user.device, INTX) as [eventfd],
    ):
        assert not disabled(free_edu)
        registers.put(RAISE, 4, 1)
        for _ in range(2):
            assert eventfd.wait(PROMPT) == 1
            assert disabled(free_edu) == (value == "N")
            assert eventfd.silent(WATCHED), "it came again while it was masked"
            irq.unmask(user.device, INTX)
        assert eventfd.wait(PROMPT) == 1
        registers.put(ACKNOWLEDGE, 4, 1)
        irq.unmask(user.device, INTX)
        assert not disabled(free_edu)
        irq.mask(user.device, INTX)
        assert disabled(free_edu) == (value == "N")
        registers.put(RAISE, 4, 1)
        assert eventfd.silent(WATCHED), "it came while it was masked"
        irq.unmask(user.device, INTX)
        assert eventfd.wait(PROMPT) == 1


def power(function: PciFunction) -> tuple[str, str]:
    """Whether the kernel lets the function sleep, and in which power state it is.

    Source: Documentation/ABI/testing/sysfs-devices-power, runtime_status; sysfs-bus-pci,
    power_state.
    """
    status = attribute(function.path / "power" / "runtime_status")
    state = attribute(function.path / "power_state")
    if status in (None, "unsupported") or state is None:
        raise Unsupported(f"{function} has no runtime power management", option="CONFIG_PM")
    return status, state


def becomes(function: PciFunction, wanted: tuple[str, str]) -> bool:
    """Whether it is so within the deadline."""
    end = time.monotonic() + PROMPT
    while power(function) != wanted and time.monotonic() < end:
        time.sleep(0.005)
    return power(function) == wanted


@pytest.mark.promise("P8")
@pytest.mark.parametrize("value", ["Y", "N"])
def test_a_function_that_nobody_has_open_sleeps_unless_disable_idle_d3_forbids_it(
    free_e1000e, value
):
    with parameter("vfio_pci", "disable_idle_d3", value), bound_to(free_e1000e, "vfio-pci"):
        for _ in range(2):
            if value == "N":
                assert becomes(free_e1000e, ("suspended", "D3hot"))
            else:
                time.sleep(WATCHED)
                assert power(free_e1000e) == ("active", "D0")
            with opened(free_e1000e.path, MODE) as user:
                assert power(free_e1000e) == ("active", "D0")
                assert user.device.config().get(config.VENDOR, 2) == free_e1000e.vendor
