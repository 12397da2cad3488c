"""Whether KVM really runs a guest on this host; a device node that opens proves nothing."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from vfio_hw import cache
from vfio_hw.errors import HarnessError
from vfio_hw.vm import machine, qemu
from vfio_hw.vm.topology import topology

_SECONDS = 15.0


def chosen(wanted: str, *, image: Path, known_to_boot: bool, say: Callable[[str], None]) -> str:
    """``kvm`` or ``tcg``.

    ``auto`` means KVM where it was seen to boot a kernel on this host with this QEMU, else
    TCG; the proof is made once and remembered in the cache.

    :param known_to_boot: the image is one of ours: if it does not boot, that is KVM's fault.
    :raises HarnessError: KVM was demanded and does not work.
    """
    if wanted == "tcg":
        return "tcg"
    works = _node_opens() and _proven(image, known_to_boot, say)
    if wanted == "kvm" and not works:
        raise HarnessError("KVM does not boot a kernel on this host: leave out --accel kvm")
    return "kvm" if works else "tcg"


def _node_opens() -> bool:
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError:
        return False
    return True


def remembered() -> bool | None:
    """Whether KVM was seen to boot a kernel on this host, or not to; None: nobody has tried."""
    try:
        return bool(json.loads(_memory().read_text())["boots"])
    except (OSError, ValueError, KeyError):
        return None


def _memory() -> Path:
    return cache.directory() / "kvm" / _host()


def _proven(image: Path, known_to_boot: bool, say: Callable[[str], None]) -> bool:
    if (before := remembered()) is not None:
        return before
    say(f"/dev/kvm opens; proving that it boots a kernel (once, {_SECONDS:g} s at most)")
    boots = _boots(image)
    say("KVM works here" if boots else "KVM does not boot a kernel here, so guests run under TCG")
    if boots or known_to_boot:
        memory = _memory()
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(json.dumps({"boots": boots}))
    return boots


def _boots(image: Path) -> bool:
    guest = machine.Guest(
        image=image,
        modules=None,
        topology=topology("intel-iommu"),
        argv=["true"],
        cwd=Path("/"),
        accelerator="kvm",
        append=["quiet"],
    )
    with tempfile.TemporaryDirectory() as out:
        ended = machine.run(
            guest, Path(out), deadlines=machine.Deadlines(boot=_SECONDS, whole=_SECONDS)
        )
    return ended.ending is machine.Ending.EXITED


def _host() -> str:
    system = os.uname()
    identity = [system.release, system.version, system.machine, qemu.version()]
    return hashlib.sha256("\n".join(identity).encode()).hexdigest()[:16]
