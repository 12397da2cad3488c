"""Which items of the headers the calls of this process had to do with, and how they went.

Kept for the table of what is judged: a set and no more, as it costs every ioctl. Calls of a forked
child are the child's, and not kept here.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from operator import attrgetter
from typing import Any

from vfio_hw.uapi import ffi, items
from vfio_hw.uapi.families import FEATURE

#: How a call can go: it succeeded, it failed with an errno, it met another in a race.
OUTCOMES = ("positive", "refused", "raced")

_NUMBERS = frozenset(name for name, (struct, _) in items.MEMBERS.items() if not struct)
# Of memory that cffi itself owns or was lent it knows the size; a mere address is not followed.
_SIZED = (type(ffi.new("int *")), type(ffi.from_buffer(b"")))

_made: set[tuple[str, str, Hashable]] = set()
_named: set[tuple[str, str]] = set()
_DATA = ffi.offsetof("struct vfio_device_feature", "data")


def _reader(struct: str, members: tuple[str, ...]) -> tuple[Any, int, Callable[[Any], Any]]:
    kind = ffi.typeof(f"struct {struct}")
    fields = dict(kind.fields)
    end = max(
        ffi.offsetof(f"struct {struct}", name) + ffi.sizeof(fields[name].type) for name in members
    )
    return ffi.typeof(f"struct {struct} *"), end, attrgetter(*members)


_READERS = {
    name: _reader(struct, members) for name, (struct, members) in items.MEMBERS.items() if struct
}


def note(request: str, argument: object, outcome: str) -> None:
    """A call was made; its argument still is what the kernel was given, or left of it."""
    values: Any = ()
    if request in _READERS and isinstance(argument, _SIZED):
        pointer, end, read = _READERS[request]
        if len(ffi.buffer(argument)) >= end:
            values = read(ffi.cast(pointer, argument))
            if request == FEATURE:
                data = bytes(ffi.buffer(argument)[_DATA:])
                note_items(outcome, items.inside(values, data, outcome))
    elif request in _NUMBERS and isinstance(argument, int):
        values = argument
    _made.add((outcome, request, values))


def note_capabilities(request: str, found: Mapping[int, bytes]) -> None:
    """The answer to a request came with these capabilities."""
    note_items("positive", items.capabilities(request, found))


def note_items(outcome: str, names: Iterable[str]) -> None:
    """A call had to do with these items, which no member of its argument tells."""
    _named.update((outcome, name) for name in names)


def taken() -> dict[str, list[str]]:
    """The items of all calls since this was last asked, by outcome; empty when none was made."""
    by_outcome: dict[str, set[str]] = {}
    for outcome, name in _named:
        by_outcome.setdefault(outcome, set()).add(name)
    for outcome, request, values in _made:
        given = values if isinstance(values, tuple) else (values,)
        by_outcome.setdefault(outcome, set()).update(items.named(request, given))
    _made.clear()
    _named.clear()
    return {name: sorted(by_outcome[name]) for name in OUTCOMES if by_outcome.get(name)}
