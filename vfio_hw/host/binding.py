"""Lending a PCI function to another driver, and giving it back as it was."""

import contextlib
import errno
import time
from collections.abc import Callable, Iterator

from vfio_hw.errors import HarnessError, KernelRefused, KernelSplat
from vfio_hw.host.blocking import write_with_deadline
from vfio_hw.host.lock import device_locked
from vfio_hw.host.pci import PciFunction, is_vfio

_POLL = 0.002
_AFTER_A_HANG = 2.0  # seconds
#: Seconds more, for each virtual function that is made.
FOR_EACH_VIRTUAL = 1.0

#: Each is asked right before a function is taken from a driver that is not VFIO's, and raises when
#: it may not be; in a guest that is thrown away there is none.
guards: list[Callable[[PciFunction], None]] = []


@contextlib.contextmanager
def bound_to(
    function: PciFunction, driver: str = "vfio-pci", deadline: float = 10.0
) -> Iterator[PciFunction]:
    """The function is bound to ``driver`` inside, and to what it was bound to before, after.

    Virtual functions that its old driver would take along are gone inside, and as many are there
    after.

    Binding goes through driver_override and drivers_probe, so that no other function of the same
    model is touched (new_id would take them all).
    Source: Documentation/ABI/testing/sysfs-bus-pci, driver_override.

    :param deadline: seconds for each write.
    :raises HarnessError: ``driver`` did not take the function, or something could not be put back.
    :raises KernelSplat: the kernel did not come back from an unbind, or a probe.
    """
    with device_locked(function.path, deadline):
        old_driver, old_override = function.driver, function.driver_override
        number = 0 if old_driver in (None, driver) else len(function.virtual_functions())
        try:
            if number:
                disable_virtual_functions(function, deadline)
            rebind(function, driver, deadline)
            yield function
        finally:
            _restore(function, old_driver, old_override, deadline)
            if number:
                path = function.path / "sriov_numvfs"
                write_with_deadline(path, f"{number}", deadline + number * FOR_EACH_VIRTUAL)


def rebind(function: PciFunction, driver: str | None, deadline: float = 10.0) -> None:
    """Bind the function to ``driver`` (None: to no driver), which its driver_override then names.

    With None the override is left alone. Nothing is undone: see :func:`bound_to`.

    :param deadline: seconds for each write.
    """
    if driver is not None:
        if not (function.bus / "drivers" / driver).is_dir():
            raise HarnessError(
                f"{function} can not be bound to {driver}: there is no such PCI driver, load its"
                " module"
            )
        # The override goes first, so that no third driver takes the function while it has none.
        if function.driver_override != driver:
            set_driver_override(function, driver, deadline)
    if function.driver == driver:
        return
    unbind(function, deadline)
    if driver is None:
        return
    # Not before: the time that the guards take, who look at the whole machine, is not the kernel's.
    end = time.monotonic() + deadline
    probe = function.bus / "drivers_probe"
    write_with_deadline(probe, function.address, deadline)
    while function.driver != driver:
        if time.monotonic() > end:
            if (function.bus / "drivers" / driver).is_dir():
                raise KernelSplat(
                    f"{driver} was offered {function} and did not bind it within {deadline:g} s:"
                    " see the kernel log",
                    oracle="binding",
                )
            raise HarnessError(
                f"{function} is bound to {function.driver or 'no driver'} {deadline:g} s after it"
                f" was offered to {driver}: load the module of {driver}, and see the kernel log"
            )
        time.sleep(_POLL)


def unbind(function: PciFunction, deadline: float = 10.0) -> None:
    """Take the function from its driver, if it has one.

    :raises HarnessError: one of the guards does not let it go.
    :raises KernelSplat: the driver did not let go within ``deadline`` seconds.
    """
    if function.driver is None:
        return
    ask_guards(function)
    try:
        write_with_deadline(function.path / "driver" / "unbind", function.address, deadline)
    except KernelRefused as refused:
        # Somebody else unbound it first: the driver link went, or names another driver by now.
        if refused.errno not in (errno.ENODEV, errno.ENOENT):
            raise


def disable_virtual_functions(function: PciFunction, deadline: float) -> None:
    """Take them away while it is known how many they are: the driver would take them along.

    :raises HarnessError: one of the guards does not let the function go.
    """
    ask_guards(function)
    write_with_deadline(function.path / "sriov_numvfs", "0", deadline)


def ask_guards(function: PciFunction) -> None:
    """The function may be taken from the driver that has it.

    :raises HarnessError: not so.
    """
    if (driver := function.driver) and not is_vfio(driver):
        for guard in guards:
            guard(function)


@contextlib.contextmanager
def free(*functions: PciFunction, deadline: float = 10.0) -> Iterator[None]:
    """Those of the functions that VFIO has are without a driver inside, and reserved to VFIO's.

    :param deadline: seconds for each write.
    """
    with contextlib.ExitStack() as stack:
        for function in functions:
            driver, override = function.driver, function.driver_override
            if driver and is_vfio(driver):
                stack.enter_context(device_locked(function.path, deadline))
                stack.callback(_restore, function, driver, override, deadline)
                unbind(function, deadline)
        yield


def set_driver_override(function: PciFunction, driver: str | None, deadline: float = 10.0) -> None:
    """Let only ``driver`` bind the function; None lets any.

    Older kernels (6.12) take the device's lock for this, which a pending unbind holds.
    """
    write_with_deadline(function.path / "driver_override", f"{driver or ''}\n", deadline)


@contextlib.contextmanager
def with_override(
    function: PciFunction, override: str | None, deadline: float = 10.0
) -> Iterator[None]:
    """After what is done inside, the function has this override, however that ends.

    When the kernel did not come back from it, an older kernel does not come back from this either:
    that is tried for a moment then, and the journal has it.
    """
    silence: list[type[KernelSplat]] = []
    try:
        yield
    except KernelSplat as splat:
        if splat.oracle == "hang":
            deadline, silence = min(deadline, _AFTER_A_HANG), [KernelSplat]
        raise
    finally:
        with contextlib.suppress(*silence):
            if function.override_within(deadline) != override:
                set_driver_override(function, override, deadline)


def _restore(
    function: PciFunction, driver: str | None, override: str | None, deadline: float
) -> None:
    wanted = (
        f"the driver {driver or '(none)'} and driver_override {override or '(none)'} of {function}"
    )
    if not function.exists:
        raise HarnessError(
            f"{wanted} could not be restored: it left the bus while it was lent, rescan the bus"
        )
    try:
        with with_override(function, override, deadline):
            rebind(function, driver, deadline)
    except HarnessError as error:
        error.add_note(f"{wanted} could not both be restored")
        raise
