"""What `vfio-hw doctor` looks at before a run in a guest: QEMU, KVM, kernels."""

from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.here.check import GOOD, NO_GUEST, NOTE, Check
from vfio_hw.vm import accelerator, kernels, qemu


def guest_checks() -> Iterator[Check]:
    """All of them; none starts anything but QEMU to ask its version."""
    try:
        yield Check("QEMU", GOOD, qemu.version())
    except HarnessError:
        text = f"{qemu.PROGRAM} is not installed"
        yield Check("QEMU", NO_GUEST, text, "apt-get install qemu-system-x86")
        return
    yield _kvm()
    try:
        built = kernels.built()
    except HarnessError as error:
        text, _, remedy = str(error).partition(": ")
        yield Check("kernels", NO_GUEST, text, remedy)
        return
    if built:
        # One that no name stands for any more goes by its version.
        named = [
            f"{kernel.name} ({kernel.release})" for kernel in built if kernel.name in kernels.NAMES
        ]
        others = len(built) - len(named)
        named += [f"older builds: {others}"] if others else []
        names = ", ".join(named)
        yield Check("kernels", GOOD, f"in the cache: {names}")
    else:
        remedy = "scripts/run builds one, or vfio-hw kernel build latest"
        yield Check("kernels", NOTE, "none is in the cache yet", remedy)


def _kvm() -> Check:
    seen = accelerator.remembered()
    if seen:
        return Check("KVM", GOOD, "was seen to boot a kernel on this host")
    if not Path("/dev/kvm").exists():
        text = "there is no /dev/kvm: guests are emulated, which is slower"
        return Check(
            "KVM", NOTE, text, "modprobe kvm_intel or kvm_amd, switch it on in the firmware"
        )
    if seen is None:
        text = "there is a /dev/kvm, and nobody has tried yet whether it works"
        return Check("KVM", NOTE, text, "the next run in a guest tries")
    text = "was seen not to boot a kernel on this host: guests are emulated"
    return Check("KVM", NOTE, text, "nested virtualisation, or bare metal")
