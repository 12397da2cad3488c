"""Puts the programs of a round into the memory shared with the engine."""

import sys
from collections.abc import Sequence
from typing import Any

from vfio_hw.errors import HarnessError
from vfio_hw.race.actor import Actor
from vfio_hw.race.program import Memory, Page, Slot, Step
from vfio_hw.uapi import ffi, lib

ALIGNMENT = 16

# How long a page that is slow lets wait who touches it first.
SLOW_NS = 300_000


class Layout:
    """One round, written to a ``struct race``; remembers which step and slot went where.

    :ivar steps: all steps; the ranges ``prologue``, ``setups[i]``, ``actors[i]`` and ``epilogue``
        index it.
    :raises HarnessError: when a round needs more of something than the engine has, or fills a
        slot twice.
    """

    def __init__(
        self,
        shared: Any,
        prologue: Sequence[Step],
        actors: Sequence[Actor],
        epilogue: Sequence[Step],
    ) -> None:
        if len(actors) > lib.RACE_ACTORS:
            raise HarnessError(f"a round has at most {lib.RACE_ACTORS} actors, not {len(actors)}")
        self._shared = shared
        self._arena = int(ffi.cast("uintptr_t", ffi.addressof(shared, "arena")))
        self._arena_used = 0
        self._slow = int(ffi.cast("uintptr_t", ffi.addressof(shared, "slow")))
        self._slow_pages = shared.slow_ns = 0
        self._slots: dict[Slot, int] = {}
        self._filled: set[Slot] = set()
        self._ours = True  # what steps fill slots with is the engine's own, to be closed by it
        self.steps: list[Step] = []
        self.prologue = self._add(shared.prologue, prologue)
        self.setups: list[range] = []
        self.actors: list[range] = []
        for place, actor in zip(shared.actors, actors, strict=False):
            self._add_actor(place, actor)
        self.epilogue = self._add(shared.epilogue, epilogue)
        shared.actor_count = len(actors)
        shared.closing = -1

    def _add_actor(self, place: Any, actor: Actor) -> None:
        place.slot = -1
        if actor.pid is not None:
            self._filled.add(actor.pid)
            place.slot = self._slot(actor.pid)
        self._ours = not actor.process
        self.setups.append(self._add(place.setup, actor.setup))
        self.actors.append(self._add(place.program, actor.program))
        self._ours = True
        place.process = actor.process
        place.storm = actor.storm is not None
        place.marked = self.actors[-1].start + actor.decisive
        if actor.storm is not None:
            place.storm_ns = round(actor.storm.seconds * 1e9)
            place.storm_count = actor.storm.times

    def left_open(self) -> tuple[str, ...]:
        """The names of the slots that the engine had to close after the round."""
        flags = self._shared.left_open
        return tuple(slot.name for slot, index in self._slots.items() if flags[index])

    def closing(self) -> str | None:
        """The name of the slot that the engine is closing because the programs did not."""
        for slot, index in self._slots.items():
            if index == self._shared.closing:
                return slot.name
        return None

    def _add(self, place: Any, program: Sequence[Step]) -> range:
        first = len(self.steps)
        self.steps += program
        if len(self.steps) > lib.RACE_STEPS:
            raise HarnessError(f"a round has at most {lib.RACE_STEPS} steps: shorten the programs")
        place.first, place.count = first, len(program)
        for index, step in enumerate(program, first):
            self._write(self._shared.steps[index], step)
        return range(first, len(self.steps))

    def _write(self, place: Any, step: Step) -> None:
        if len(step.arguments) > 6:
            raise HarnessError(f"{step.label}: a system call has at most six arguments")
        place.number, place.delay_ns = step.number, step.delay_ns
        place.into = -1 if step.into is None else self._fill(step.into, step)
        place.store_count = place.load_count = 0
        arguments = step.arguments + (0,) * (6 - len(step.arguments))
        for target, argument in zip(place.arguments, arguments, strict=True):
            target.kind = lib.RACE_VALUE
            if isinstance(argument, Slot):
                target.kind = lib.RACE_TAKE if step.takes else lib.RACE_SLOT
                target.value = self._slot(argument)
            elif isinstance(argument, Memory):
                target.value = self._memory(place, argument, step)
            elif isinstance(argument, Page):
                target.value = argument.address
            else:
                target.value = argument & 0xFFFF_FFFF_FFFF_FFFF

    def _slot(self, slot: Slot) -> int:
        new = slot not in self._slots
        index = self._slots.setdefault(slot, len(self._slots))
        if index >= lib.RACE_SLOTS:
            raise HarnessError(f"a round has at most {lib.RACE_SLOTS} slots: use fewer")
        if new:
            self._shared.descriptors[index] = slot.descriptor and not slot.mapping
            self._shared.mapped[index] = slot.mapping
        return index

    def _fill(self, slot: Slot, step: Step) -> int:
        # A second result would overwrite, and so leak, the descriptor that the first one left.
        if slot in self._filled:
            raise HarnessError(f"{step.label} fills slot {slot.name} a second time: use another")
        self._filled.add(slot)
        index = self._slot(slot)
        if not self._ours:
            self._shared.descriptors[index] = self._shared.mapped[index] = 0
        return index

    def _memory(self, place: Any, memory: Memory, step: Step) -> int:
        """Puts it somewhere and returns the address that the call gets."""
        size = len(memory.content)
        # What is written before the call goes to where the slow page is filled from.
        source, address = self._slow_page(size, step) if memory.slow else self._room(size, step)
        ffi.memmove(ffi.cast("void *", source), memory.content, size)
        for offset, slot in (*memory.stores.items(), *memory.loads.items()):
            self._check(offset, _width(slot), size, step)
        for offset, slot in memory.stores.items():
            copy = self._copy(place.stores, place.store_count, source + offset, _width(slot))
            copy.slot = self._slot(slot)
            place.store_count += 1
        for offset, slot in memory.loads.items():
            copy = self._copy(place.loads, place.load_count, address + offset, _width(slot))
            copy.slot = self._fill(slot, step)
            place.load_count += 1
        for offset, other in memory.pointers.items():
            self._check(offset, 8, size, step)
            where = other.address if isinstance(other, Page) else self._memory(place, other, step)
            pointer = where.to_bytes(8, sys.byteorder)
            ffi.memmove(ffi.cast("void *", source + offset), pointer, 8)
        return address

    def _room(self, size: int, step: Step) -> tuple[int, int]:
        address = self._arena + self._arena_used
        self._arena_used += -(-size // ALIGNMENT) * ALIGNMENT
        if self._arena_used > lib.RACE_ARENA:
            raise HarnessError(f"{step.label}: a round has {lib.RACE_ARENA} bytes of memory in all")
        return address, address

    def _slow_page(self, size: int, step: Step) -> tuple[int, int]:
        page = self._shared.page_size
        offset = self._slow_pages * page
        self._slow_pages += 1
        if size > page or self._slow_pages > lib.RACE_SLOW_PAGES:
            raise HarnessError(
                f"{step.label}: a round has {lib.RACE_SLOW_PAGES} slow pages of {page} bytes"
            )
        self._shared.slow_ns = SLOW_NS
        return self._slow + offset, self._shared.slow_address + offset

    @staticmethod
    def _check(offset: int, width: int, size: int, step: Step) -> None:
        if not 0 <= offset <= size - width:
            raise HarnessError(
                f"{step.label}: {8 * width} bits at {offset} are not within {size} bytes"
            )

    @staticmethod
    def _copy(copies: Any, used: int, address: int, width: int) -> Any:
        if used == lib.RACE_COPIES:
            raise HarnessError(f"a call moves at most {lib.RACE_COPIES} slots in or out of memory")
        copies[used].address, copies[used].size = address, width
        return copies[used]


def _width(slot: Slot) -> int:
    return 8 if slot.mapping else 4
