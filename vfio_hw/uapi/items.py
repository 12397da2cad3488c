"""The items of the headers that a test can judge, and which of them a call has to do with."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from vfio_hw.uapi import ffi, lib
from vfio_hw.uapi.families import (
    BY_FEATURE,
    FAMILIES,
    FEATURE,
    FEATURES,
    FOUND,
    IRQS,
    KVM,
    SET_IRQS,
    SUBTYPES,
    TYPES,
)
from vfio_hw.uapi.family import REQUESTS


@dataclass(frozen=True)
class Section:
    """Items of one kind, in the order of the headers.

    :param combined: they are no names of the headers, but several that go into one call.
    """

    title: str
    items: tuple[str, ...]
    combined: bool = False


#: Bytes of the first member of the data of each feature that are looked at.
_WORD = 4
_OPS = ("GET", "SET", "PROBE")
_ACTIONS, _DATA = ("TRIGGER", "MASK", "UNMASK"), ("NONE", "BOOL", "EVENTFD")


def _members() -> dict[str, tuple[str, tuple[str, ...]]]:
    beside = [
        (SET_IRQS, "vfio_irq_set", "flags"),
        *((call, kind, "group") for call, kind, _ in KVM),
    ]
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for request, struct, member in (*(w for f in FAMILIES for w in f.where), *beside):
        before = found.get(request, (struct, ()))[1]
        found[request] = struct, before if member in before else (*before, member)
    return found


#: What of a request's argument tells items apart: its struct, and members of it.
MEMBERS: Mapping[str, tuple[str, tuple[str, ...]]] = _members()
_FAMILIES_OF = {
    request: [(f, member) for f in FAMILIES for known, _, member in f.where if known == request]
    for request in MEMBERS
}


def named(request: str, values: tuple[int, ...]) -> Iterator[str]:
    """The items that a call has to do with.

    :param values: of the request's :data:`MEMBERS`; none when they could not be read.
    """
    yield request
    if not values:
        return
    given = dict(zip(MEMBERS[request][1], values, strict=True))
    if given.get("group", lib.KVM_DEV_VFIO_FILE) != lib.KVM_DEV_VFIO_FILE:
        return
    for family, member in _FAMILIES_OF[request]:
        yield from family.named(given[member])
    if request == FEATURE:
        yield from _feature(given["flags"])
    elif request == SET_IRQS:
        yield from _set_irqs(given["index"], given["flags"])


def _feature(flags: int) -> Iterator[str]:
    ops = [op for op in _OPS if flags & getattr(lib, f"{FEATURE}_{op}")]
    if "PROBE" in ops:
        ops = ["PROBE"]
    if len(ops) == 1:
        yield from (f"{name} {ops[0]}" for name in FEATURES.named(flags))


def inside(flags: int, data: bytes, outcome: str) -> Iterator[str]:
    """The items with which the data of a VFIO_DEVICE_FEATURE begin, after a call that went so.

    A probe has none; what was to be got, only a call that succeeded has told.
    """
    family = BY_FEATURE.get(flags & lib.VFIO_DEVICE_FEATURE_MASK)
    got = flags & lib.VFIO_DEVICE_FEATURE_GET and not flags & lib.VFIO_DEVICE_FEATURE_SET
    if (
        family is None
        or flags & lib.VFIO_DEVICE_FEATURE_PROBE
        or len(data) < _WORD
        or (got and outcome != "positive")
    ):
        return
    yield from family.named(int.from_bytes(data[:_WORD], sys.byteorder))


def _set_irqs(index: int, flags: int) -> Iterator[str]:
    actions = [name for name in _ACTIONS if flags & getattr(lib, f"VFIO_IRQ_SET_ACTION_{name}")]
    data = [name for name in _DATA if flags & getattr(lib, f"VFIO_IRQ_SET_DATA_{name}")]
    if len(actions) == len(data) == 1:
        yield from (f"{name} {actions[0]} {data[0]}" for name in IRQS.named(index))


def capabilities(request: str, found: Mapping[int, bytes]) -> Iterator[str]:
    """The items in the chain of capabilities that came with the answer to ``request``."""
    for identity, data in found.items():
        names = list(FOUND[request].named(identity)) if request in FOUND else []
        yield from names
        if "VFIO_REGION_INFO_CAP_TYPE" in names:
            kind: Any = ffi.from_buffer("struct vfio_region_info_cap_type *", data)
            yield from _region(int(kind.type), int(kind.subtype))


def _region(kind: int, subtype: int) -> Iterator[str]:
    for name in TYPES.named(kind):
        yield name
        # Each type numbers its own subtypes.
        prefix = name.replace("_TYPE_", "_SUBTYPE_")
        yield from (each for each in SUBTYPES.named(subtype) if each.startswith(prefix))


def sections() -> list[Section]:
    """All items; each is in one section."""
    irqs = [name for name in IRQS.values if name.startswith("VFIO_PCI_")]
    combined = [
        Section("Features by what is done", _joined(FEATURES.values, _OPS), combined=True),
        Section("Interrupts by action and data", _joined(irqs, _ACTIONS, _DATA), combined=True),
    ]
    families = [*FAMILIES, *FOUND.values(), TYPES, SUBTYPES]
    named_ones = [Section(family.title, tuple(family.values)) for family in families]
    return [Section("Requests", tuple(REQUESTS)), *named_ones, *combined]


def _joined(*words: Mapping[str, int] | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(" ".join(each) for each in product(*words))
