"""What `vfio-hw doctor` looks at before a run on this machine."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.here.check import GOOD, NOT_HERE, NOTE, Check
from vfio_hw.here.group_check import viability
from vfio_hw.here.leftovers import leftovers
from vfio_hw.here.rights import LIMITS, LOCKED, RULES, closed, lockable
from vfio_hw.host import kconfig, modules
from vfio_hw.host.iommu import interrupts_remapped
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.safety import Safety
from vfio_hw.host.sysfs import attribute, is_there, names_in
from vfio_hw.host.tree import Listed, functions, listed, mdev_parents, other_members
from vfio_hw.oracle.kernel_log import KernelLog

# Source: Documentation/admin-guide/tainted-kernels.rst, as bits.
_DIED, _WARNED = 1 << 7, 1 << 9
_DEBUG = {
    "CONFIG_KASAN": "KASAN",
    "CONFIG_PROVE_LOCKING": "lockdep",
    "CONFIG_DEBUG_KMEMLEAK": "kmemleak",
    "CONFIG_UBSAN": "UBSAN",
    "CONFIG_DEBUG_OBJECTS": "debug objects",
}


def checks_here() -> Iterator[Check]:
    """All of them, in the order in which a person would look."""
    if os.geteuid() == 0:
        yield Check("user", GOOD, "root")
    else:
        text = f"user {os.geteuid()}: can drive what root has bound, and not bind"
        yield Check("user", NOTE, text, "see 'As a user' in README.md, or be root")
    yield _iommu()
    yield _remapping()
    yield from _modules()
    yield from _nodes()
    yield _memlock()
    yield _log()
    yield from _groups()
    yield _parents()
    yield _kernel()
    yield _debug()
    yield _faults()
    yield from leftovers()


def _iommu() -> Check:
    units, groups = names_in(Path("/sys/class/iommu")), names_in(Path("/sys/kernel/iommu_groups"))
    if groups:
        return Check("IOMMU", GOOD, f"{', '.join(units) or 'on'}, {len(groups)} groups")
    remedy = (
        "enable VT-d or AMD-Vi in the firmware, in a virtual machine give it an emulated one; boot"
        " with intel_iommu=on on Intel, and without iommu=off or amd_iommu=off"
    )
    if units:
        return Check("IOMMU", NOT_HERE, f"{', '.join(units)} is there, and no group: off", remedy)
    return Check("IOMMU", NOT_HERE, "none is in use: there is no IOMMU group", remedy)


def _remapping() -> Check:
    if interrupts_remapped():
        return Check("interrupt remapping", GOOD, "on")
    allowed = Path("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
    if attribute(allowed) == "Y":
        text = "off, and vfio_iommu_type1 was told to do without (allow_unsafe_interrupts)"
        return Check("interrupt remapping", NOTE, text)
    return Check(
        "interrupt remapping",
        NOT_HERE,
        "off: VFIO refuses devices whose interrupts nobody checks (EPERM)",
        "see to the IOMMU, and do not boot with intremap=off; or trust the devices, and give"
        " vfio_iommu_type1 the parameter allow_unsafe_interrupts=1",
    )


def _modules() -> Iterator[Check]:
    for name, option, needed in (
        ("vfio", "CONFIG_VFIO", True),
        ("vfio-pci", "CONFIG_VFIO_PCI", True),
        ("vfio_iommu_type1", "CONFIG_VFIO_IOMMU_TYPE1", False),
        ("iommufd", "CONFIG_IOMMUFD", False),
    ):
        if modules.is_loaded(name):
            yield Check(f"module {name}", GOOD, "loaded")
        elif modules.is_available(name):
            # A run by root loads them itself.
            yield Check(f"module {name}", NOTE, "not loaded", f"modprobe {name}, as root")
        else:
            verdict, missed = (NOT_HERE, "") if needed else (NOTE, ", its tests are skipped")
            text = f"not in this kernel, nor among its modules{missed}"
            yield Check(f"module {name}", verdict, text, f"boot one built with {option}")


def _nodes() -> Iterator[Check]:
    for path, name in ((Path("/dev/vfio/vfio"), "vfio"), (Path("/dev/iommu"), "iommufd")):
        try:
            status = path.stat()
        except OSError:
            yield Check(str(path), NOTE, "not there", f"see to the module {name}, above")
            continue
        mode = stat.filemode(status.st_mode)
        if os.access(path, os.R_OK | os.W_OK):
            yield Check(str(path), GOOD, f"{mode}, ours to use")
        else:
            text = f"{mode}, not for user {os.geteuid()}"
            yield Check(str(path), NOT_HERE, text, f"let root install {RULES}, and log in anew")


def _memlock() -> Check:
    most = lockable()
    if most is None:
        return Check("locked memory", GOOD, "no limit")
    text = f"at most {most >> 20} MiB"
    if most >= LOCKED:
        return Check("locked memory", GOOD, text)
    text += f", and tests lock {LOCKED >> 20}"
    remedy = f"let root install {LIMITS}, and log in anew"
    return Check("locked memory", NOT_HERE, text, remedy)


def _log() -> Check:
    try:
        KernelLog().close()
    except HarnessError as error:
        text, _, remedy = str(error).partition("): ")
        return Check("kernel log", NOT_HERE, f"{text})", remedy)
    return Check("kernel log", GOOD, "can be read")


def _groups() -> Iterator[Check]:
    safety = Safety(claim=False)
    found: list[Listed] = [listed(function, safety) for function in functions()]
    yield viability(found, other_members())
    known = [each for each in found if each.function.kind]
    free = [each.function for each in known if not each.obstacles]
    taken = [each for each in known if each.obstacles]
    if free and os.geteuid() != 0:
        yield _devices_of_a_user(free)
    elif free:
        yield Check("devices", GOOD, f"can be tested: {', '.join(map(str, free))}")
    else:
        text = f"none of {len(found)} functions can be tested"
        yield Check("devices", NOT_HERE, text, "vfio-hw list says why")
    for each in taken:
        more = f"; vfio-hw list says {len(each.obstacles) - 1} more" if each.obstacles[1:] else ""
        yield Check(each.function.address, NOTE, f"{each.obstacles[0]}{more}")


def _devices_of_a_user(free: list[PciFunction]) -> Check:
    bound = [function for function in free if function.driver == "vfio-pci"]
    if not bound:
        text = f"root has bound none: could be tested are {', '.join(map(str, free))}"
        return Check("devices", NOT_HERE, text, f"sudo vfio-hw bind {free[0]}")
    ours = [function for function in bound if not closed([function])]
    if not ours:
        text = f"{', '.join(map(str, bound))}: the nodes are not for user {os.geteuid()}"
        return Check("devices", NOT_HERE, text, f"let root install {RULES}, and log in anew")
    return Check("devices", GOOD, f"bound, and ours to test: {', '.join(map(str, ours))}")


def _parents() -> Check:
    parents = [f"{parent['parent']}" for parent in mdev_parents()]
    if parents:
        return Check("mdev parents", GOOD, ", ".join(parents))
    remedy = "modprobe mtty, mdpy or mbochs, as root, where the kernel has these samples"
    return Check("mdev parents", NOTE, "none, their tests are skipped", remedy)


def _kernel() -> Check:
    taint = int(attribute(Path("/proc/sys/kernel/tainted")) or 0)
    release = os.uname().release
    if taint & (_DIED | _WARNED):
        what = "died" if taint & _DIED else "warned"
        return Check("kernel", NOTE, f"{release}, which {what} since it booted", "reboot")
    return Check("kernel", GOOD, release)


def _debug() -> Check:
    options = kconfig.options()
    if options is None:
        return Check(
            "debug options",
            NOTE,
            "the kernel does not say",
            "boot a kernel with CONFIG_IKCONFIG_PROC",
        )
    found = [name for option, name in _DEBUG.items() if option in options]
    if found:
        return Check("debug options", GOOD, ", ".join(found))
    text = "none: fewer faults are seen, and everything is faster"
    return Check("debug options", NOTE, text, f"boot a kernel with {', '.join(_DEBUG)}")


def _faults() -> Check:
    options = kconfig.options() or frozenset()
    if is_there(Path("/sys/kernel/debug/failslab")):
        return Check("fault injection", GOOD, "failslab")
    if "CONFIG_FAILSLAB" in options:
        text = "failslab, and debugfs is not ours to see"
        return Check("fault injection", NOTE, text, "mount debugfs, be root")
    remedy = "boot a kernel with CONFIG_FAILSLAB and CONFIG_FAULT_INJECTION_DEBUG_FS"
    return Check("fault injection", NOTE, "not in this kernel, its tests are skipped", remedy)
