"""What a write to sysfs changes: a driver, an attribute, a mediated device; and how it is now."""

import re
from dataclasses import dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host.reading import read
from vfio_hw.host.sysfs import link_name

PCI = Path("/sys/bus/pci/devices")
MDEV = Path("/sys/bus/mdev/devices")

_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Directories of debugfs, of all that is below /sys/kernel, in which a value stays. Source:
# Documentation/fault-injection/fault-injection.rst.
_INJECTING = ("failslab", "fail_")
_NONE = "(null)"  # how driver_override says that there is none
# What a parameter is told, and what it says then.
_WORDS = {"1": "Y", "0": "N", "y": "Y", "n": "N"}


def alike(first: str, second: str) -> bool:
    """Whether these are two ways to say one value."""
    return _WORDS.get(first, first) == _WORDS.get(second, second)


@dataclass(frozen=True)
class Target:
    """One thing that has a value, which can be put back.

    ``kind`` is ``driver`` or ``present`` (of the PCI function ``name``), ``mdev`` (of the UUID
    ``name``, whose value is its parent and type, "" when it does not exist), or ``attribute`` (of
    the path ``name``).
    """

    kind: str
    name: str

    def value(self) -> str | None:
        """How it is now; None when the device or the attribute is not there.

        :raises HarnessError: it does not say; a KernelSplat: as its device is locked.
        """
        if self.kind == "mdev":
            path = MDEV / self.name
            type_path = path / "mdev_type"
            if not type_path.exists():
                return ""
            return f"{path.resolve().parent.name}/{type_path.resolve().name}"
        if self.kind == "present":
            return "yes" if (PCI / self.name).is_dir() else ""
        if self.kind == "driver":
            path = PCI / self.name
            return (link_name(path / "driver") or "") if path.is_dir() else None
        try:
            text = read(Path(self.name))
        except OSError as error:
            raise HarnessError(
                f"{self.name} can not be read ({error.strerror}), so it could not be put back:"
                " leave it as it is, or tell vfio_hw/host/target.py that it is nothing that stays"
            ) from None
        return "" if text == _NONE else text

    def identity(self) -> str:
        """Tells the device, or module, from another that comes under the same name; "" for mdevs.

        Within one boot no two directories of sysfs have the same number.
        """
        if self.kind in ("mdev", "present"):
            return ""
        path = PCI / self.name if self.kind == "driver" else _owner(Path(self.name))
        try:
            return str(path.stat().st_ino)
        except OSError:
            return "gone"

    def __str__(self) -> str:
        if self.kind == "driver":
            return f"{self.name} driver"
        if self.kind == "present":
            return f"{self.name} on its bus"
        return f"mdev {self.name}" if self.kind == "mdev" else self.name


def target_of(path: Path, text: str) -> tuple[Target, str] | None:
    """What a write of ``text`` to ``path`` changes, and to what value; None: nothing that stays."""
    word = text.strip()
    parts = path.parts
    if parts[:2] != ("/", "sys"):
        return None
    if parts[2:3] == ("kernel",) and not path.parent.name.startswith(_INJECTING):
        return None
    if path.name == "create" and "mdev_supported_types" in parts:
        if not _UUID.fullmatch(word):
            return None
        kind = path.parent
        return Target("mdev", word), f"{kind.parent.parent.resolve().name}/{kind.name}"
    if path.name == "remove":
        if _UUID.fullmatch(path.parent.name):
            return Target("mdev", path.parent.name), ""
        address = path.parent.resolve().name
        return (Target("present", address), "") if _ADDRESS.fullmatch(address) else None
    if path.name in ("bind", "unbind", "drivers_probe"):
        return _driver(path, word)
    # That its ROM may be read is no state of a device, and says nothing before it may.
    if path.name in ("rescan", "reset", "uevent", "new_id", "remove_id", "rom"):
        return None
    try:
        path = path.resolve()
    except OSError:
        return None
    return Target("attribute", str(path)), word


def function_of(target: Target) -> str | None:
    """The address of the PCI function whose driver or attribute it is; None: of none."""
    name = target.name if target.kind == "driver" else _owner(Path(target.name)).name
    return name if target.kind in ("driver", "attribute") and _ADDRESS.fullmatch(name) else None


def _driver(path: Path, word: str) -> tuple[Target, str] | None:
    if not _ADDRESS.fullmatch(word) or not (PCI / word).is_dir():
        return None
    if path.name == "unbind":
        return Target("driver", word), ""
    if path.name == "bind":
        return Target("driver", word), path.parent.name
    override = read(PCI / word / "driver_override") or ""
    # Without an override the kernel chooses, and the note says so when it has.
    return Target("driver", word), "" if override == _NONE else override


def _owner(path: Path) -> Path:
    """The directory of the device or module that an attribute belongs to."""
    parent = path.parent
    return parent.parent if parent.name in ("power", "parameters") else parent
