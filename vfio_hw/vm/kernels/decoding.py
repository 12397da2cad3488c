"""How the addresses in a trace of a kernel become files and lines."""

import shlex
from pathlib import Path

from vfio_hw.vm.kernels.config import settings
from vfio_hw.vm.kernels.source import source_of
from vfio_hw.vm.kernels.store import Kernel

_SCRIPT = Path("scripts/decode_stacktrace.sh")
_WANTED = "CONFIG_DEBUG_INFO_DWARF_TOOLCHAIN_DEFAULT=y"


def advice(kernel: Kernel, console: Path) -> str:
    """The command that decodes the traces on a console, or what is missing for it."""
    if kernel.objects is None:
        return (
            f"the vmlinux of {kernel.name} is not known here: give its tree, as it was built, to"
            " decode the trace"
        )
    vmlinux = kernel.objects / "vmlinux"
    if not vmlinux.is_file():
        return f"{vmlinux} is gone: build the kernel again to decode the trace"
    if "CONFIG_DEBUG_INFO" not in settings((kernel.objects / ".config").read_text()):
        return (
            f"{vmlinux} has names, but no lines: to decode the trace, take latest-debug, or a tree"
            f" with {_WANTED}"
        )
    script = source_of(kernel.objects) / _SCRIPT
    words = [script, vmlinux, kernel.objects, kernel.objects]
    return f"to decode the trace: {shlex.join(map(str, words))} < {shlex.quote(str(console))}"
