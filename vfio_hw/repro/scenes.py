"""How a C program has the device again that a race is about."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vfio_hw.errors import HarnessError

_MDEV = """\
#define DEVICE "/sys/bus/mdev/devices/{name}"
#define CREATE "/sys/class/mdev_bus/{parent}/mdev_supported_types/{type}/create"

static void set_scene(void)
{{
	if (system("{modprobe}"))
		fprintf(stderr, "modprobe: not all modules could be loaded\\n");
}}

static void restore(void)
{{
	/* The module of its parent is one of what the race takes away. */
	if (access(CREATE, F_OK))
		set_scene();
	if (access(DEVICE, F_OK))
		write_to(CREATE, "{name}");
	find_nodes(DEVICE);
}}

static void give_back(void)
{{
	if (!access(DEVICE, F_OK))
		write_to(DEVICE "/remove", "1");
}}
"""

_PCI = """\
#define DEVICE "/sys/bus/pci/devices/{name}"

static void bind_to(const char *driver, const char *override)
{{
	char name[300];

	/* The function itself is one of what the race takes away. */
	if (access(DEVICE, F_OK))
		write_to("/sys/bus/pci/rescan", "1");
	link_name(DEVICE "/driver", name);
	if (!strcmp(name, driver))
		return;
	if (*name)
		write_to(DEVICE "/driver/unbind", "{name}");
	write_to(DEVICE "/driver_override", override);
	if (*driver)
		write_to("/sys/bus/pci/drivers_probe", "{name}");
}}

static void set_scene(void)
{{
	if (system("{modprobe}"))
		fprintf(stderr, "modprobe: not all modules could be loaded\\n");
	link_name(DEVICE "/driver", shared->driver_before);
	read_from(DEVICE "/driver_override", shared->override_before);
	if (!strcmp(shared->override_before, "(null)\\n"))
		strcpy(shared->override_before, "\\n");
}}

static void restore(void)
{{
	bind_to("{driver}", "{driver}");
	find_nodes(DEVICE);
}}

static void give_back(void)
{{
	bind_to(shared->driver_before, shared->override_before);
}}
"""

_NONE = """\
static void set_scene(void)
{
}

static void restore(void)
{
}

static void give_back(void)
{
}
"""


# What devices, drivers, types and calls are called.
_WORD = re.compile(r"\w[\w.:+-]*", re.ASCII)
_KVM = b"/dev/kvm\0".hex()


def _modprobe(file: Mapping[str, Any], own: str) -> str:
    kvm = "modprobe -q kvm_amd || modprobe -q kvm_intel; " if _KVM in json.dumps(file) else ""
    return f"{kvm}modprobe -q {own}; modprobe -q vfio_iommu_type1; modprobe -q iommufd"


@dataclass(frozen=True)
class SceneCode:
    """The functions set_scene(), restore() and give_back(), and what they need, for a person."""

    code: str
    needs: str


def scene(file: Mapping[str, Any]) -> SceneCode:
    """For the device that a failure file names.

    :raises HarnessError: it names none, and its programs are about one.
    :raises ValueError: what it names is no name.
    """
    device = file.get("device")
    if device is None:
        if '"path"' in str(file).replace("'", '"'):
            raise HarnessError(
                f"the failure of {file['test']} names no device that a C program could set up:"
                " use vfio-hw replay"
            )
        return SceneCode(_NONE, "It needs no device.")
    device = {key: word(value) for key, value in device.items()}
    if device["bus"] == "mdev":
        code = _MDEV.format(**device, modprobe=_modprobe(file, device["parent"]))
        return SceneCode(code, f"It creates an mdev of type {device['type']}: as root.")
    return SceneCode(
        _PCI.format(**device, modprobe=_modprobe(file, device["driver"])),
        f"It binds {device['name']}, which is of kind {device['kind']}, to {device['driver']}: as"
        " root.",
    )


def word(text: str) -> str:
    """A name, as it goes into the program's code and its command lines.

    :raises ValueError: it is none, and could be code of somebody else's.
    """
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} is no name")
    return text
