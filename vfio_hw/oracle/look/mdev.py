"""Mediated devices by their types. Source: Documentation/driver-api/vfio-mediated-device.rst."""

import os

from vfio_hw.oracle.look.files import names, number

_PARENTS = "/sys/class/mdev_bus"


def instances(root: str) -> dict[str, int]:
    """How many more devices each type offers."""
    counts = {}
    for path, kind in _types(root):
        count = number(f"{path}/available_instances")
        if count is not None:
            counts[f"{kind}: available instances"] = count
    return counts


def devices(root: str) -> dict[str, frozenset[str]]:
    """The links from each type to its devices, also those to a device that has gone."""
    entries = {}
    for path, kind in _types(root):
        links = names(f"{path}/devices")
        entries[f"{kind}: devices"] = frozenset(
            name if os.access(f"{path}/devices/{name}", os.F_OK) else f"{name} (dangling)"
            for name in links
        )
    return entries


def _types(root: str) -> list[tuple[str, str]]:
    return [
        (f"{root}{_PARENTS}/{parent}/mdev_supported_types/{kind}", f"mdev type {kind} of {parent}")
        for parent in names(root + _PARENTS)
        for kind in names(f"{root}{_PARENTS}/{parent}/mdev_supported_types")
    ]
