"""What `vfio-hw doctor` looks at before a run on this machine."""

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.here.check import GOOD, NOT_HERE, NOTE, Check
from vfio_hw.here.leftovers import leftovers
from vfio_hw.host import kconfig, modules
from vfio_hw.host.safety import Safety
from vfio_hw.host.sysfs import attribute, names_in
from vfio_hw.host.tree import Listed, functions, listed, mdev_parents

# Source: Documentation/admin-guide/tainted-kernels.rst, as bits.
_DIED, _WARNED = 1 << 7, 1 << 9
_DEBUG = {
    "CONFIG_KASAN": "KASAN",
    "CONFIG_PROVE_LOCKING": "lockdep",
    "CONFIG_DEBUG_KMEMLEAK": "kmemleak",
    "CONFIG_UBSAN": "UBSAN",
    "CONFIG_DEBUG_OBJECTS": "debug objects",
}
_MEMORY = 64 << 20  # bytes that the tests pin at once, at least


def checks_here() -> Iterator[Check]:
    """All of them, in the order in which a person would look."""
    if os.geteuid() == 0:
        yield Check("user", GOOD, "root")
    else:
        text = f"user {os.geteuid()}: can drive what root has bound, and not bind"
        yield Check("user", NOTE, text, "sudo")
    yield _iommu()
    yield _remapping()
    yield from _modules()
    yield from _nodes()
    yield _memlock()
    yield from _groups()
    parents = [f"{parent['parent']}" for parent in mdev_parents()]
    yield Check("mdev parents", GOOD if parents else NOTE, ", ".join(parents) or "none")
    yield _kernel()
    yield _debug()
    yield _faults()
    yield from leftovers()


def _iommu() -> Check:
    units, groups = names_in(Path("/sys/class/iommu")), names_in(Path("/sys/kernel/iommu_groups"))
    if groups:
        return Check("IOMMU", GOOD, f"{', '.join(units) or 'on'}, {len(groups)} groups")
    remedy = "enable VT-d or AMD-Vi in the firmware, and boot with intel_iommu=on or amd_iommu=on"
    if units:
        return Check("IOMMU", NOT_HERE, f"{', '.join(units)} is there, and no group: off", remedy)
    return Check("IOMMU", NOT_HERE, "none is in use: there is no IOMMU group", remedy)


def _remapping() -> Check:
    # The chips of remapped interrupts have names of their own (IR-IO-APIC, IR-PCI-MSI).
    if " IR-" in (attribute(Path("/proc/interrupts")) or ""):
        return Check("interrupt remapping", GOOD, "on")
    allowed = Path("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
    if attribute(allowed) == "Y":
        text = "off, and vfio_iommu_type1 was told to do without (allow_unsafe_interrupts)"
        return Check("interrupt remapping", NOTE, text)
    return Check(
        "interrupt remapping",
        NOT_HERE,
        "off: VFIO refuses devices whose interrupts nobody checks (EPERM)",
        "enable it in the firmware, or give vfio_iommu_type1 allow_unsafe_interrupts=1",
    )


def _modules() -> Iterator[Check]:
    for name, needed in (
        ("vfio", True),
        ("vfio-pci", True),
        ("vfio_iommu_type1", False),
        ("iommufd", False),
    ):
        if modules.is_loaded(name):
            yield Check(f"module {name}", GOOD, "loaded")
        elif modules.is_available(name):
            yield Check(f"module {name}", NOTE, "not loaded", f"modprobe {name}")
        else:
            text = "this kernel does not have it"
            yield Check(f"module {name}", NOT_HERE if needed else NOTE, text)


def _nodes() -> Iterator[Check]:
    for path in (Path("/dev/vfio/vfio"), Path("/dev/iommu")):
        try:
            status = path.stat()
        except OSError:
            yield Check(str(path), NOTE, "not there", "load its module, as root")
            continue
        mode = stat.filemode(status.st_mode)
        if os.access(path, os.R_OK | os.W_OK):
            yield Check(str(path), GOOD, f"{mode}, ours to use")
        else:
            yield Check(
                str(path),
                NOTE,
                f"{mode}, not for user {os.geteuid()}",
                "see scripts/60-vfio-hw.rules",
            )


def _memlock() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if os.geteuid() == 0 or soft == resource.RLIM_INFINITY:
        return Check("locked memory", GOOD, "no limit")
    text = f"at most {soft >> 20} MiB" + (f" (hard {hard >> 20})" if hard != soft else "")
    if soft >= _MEMORY:
        return Check("locked memory", GOOD, text)
    return Check(
        "locked memory", NOTE, text, f"ulimit -l {_MEMORY >> 10}, see scripts/vfio-hw-limits.conf"
    )


def _groups() -> Iterator[Check]:
    safety = Safety()
    found: list[Listed] = [listed(function, safety) for function in functions()]
    known = [each for each in found if each.function.kind]
    free = [each.function.address for each in known if not each.obstacles]
    taken = [each for each in known if each.obstacles]
    if free:
        yield Check("devices", GOOD, f"can be tested: {', '.join(free)}")
    else:
        text = f"none of {len(found)} functions can be tested"
        yield Check("devices", NOT_HERE, text, "vfio-hw list says why")
    for each in taken:
        yield Check(each.function.address, NOTE, each.obstacles[0], "vfio-hw list says more")


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
        return Check("debug options", NOTE, "the kernel does not say (CONFIG_IKCONFIG_PROC)")
    found = [name for option, name in _DEBUG.items() if option in options]
    if found:
        return Check("debug options", GOOD, ", ".join(found))
    return Check("debug options", NOTE, "none: fewer faults are seen, and everything is faster")


def _faults() -> Check:
    options = kconfig.options() or frozenset()
    if Path("/sys/kernel/debug/failslab").is_dir():
        return Check("fault injection", GOOD, "failslab")
    if "CONFIG_FAILSLAB" in options:
        text = "failslab, and debugfs is not ours to see"
        return Check("fault injection", NOTE, text, "mount debugfs, be root")
    return Check("fault injection", NOTE, "not in this kernel (CONFIG_FAILSLAB)")
