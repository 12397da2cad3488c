"""Puts the programs of a round into the memory shared with the engine."""

from collections.abc import Sequence
from typing import Any

from vfio_hw.errors import HarnessError
from vfio_hw.race.program import Memory, Slot, Step
from vfio_hw.uapi import ffi, lib

ALIGNMENT = 16


class Layout:
    """One round, written to a ``struct race``; remembers which step and slot went where.

    :ivar steps: all steps; the ranges ``prologue``, ``actors[i]`` and ``epilogue`` index it.
    :raises HarnessError: when a round needs more of something than the engine has, or fills a
        slot twice.
    """

    def __init__(
        self,
        shared: Any,
        prologue: Sequence[Step],
        actors: Sequence[Sequence[Step]],
        epilogue: Sequence[Step],
    ) -> None:
        if len(actors) > lib.RACE_ACTORS:
            raise HarnessError(f"a round has at most {lib.RACE_ACTORS} actors, not {len(actors)}")
        self._shared = shared
        self._arena = int(ffi.cast("uintptr_t", ffi.addressof(shared, "arena")))
        self._arena_used = 0
        self._slots: dict[Slot, int] = {}
        self._filled: set[Slot] = set()
        self.steps: list[Step] = []
        self.prologue = self._add(shared.prologue, prologue)
        self.actors = [
            self._add(shared.actors[index].program, program) for index, program in enumerate(actors)
        ]
        self.epilogue = self._add(shared.epilogue, epilogue)
        shared.actor_count = len(actors)
        shared.closing = -1

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
            else:
                target.value = argument & 0xFFFF_FFFF_FFFF_FFFF

    def _slot(self, slot: Slot) -> int:
        index = self._slots.setdefault(slot, len(self._slots))
        if index >= lib.RACE_SLOTS:
            raise HarnessError(f"a round has at most {lib.RACE_SLOTS} slots: use fewer")
        self._shared.descriptors[index] = slot.descriptor
        return index

    def _fill(self, slot: Slot, step: Step) -> int:
        # A second result would overwrite, and so leak, the descriptor that the first one left.
        if slot in self._filled:
            raise HarnessError(f"{step.label} fills slot {slot.name} a second time: use another")
        self._filled.add(slot)
        return self._slot(slot)

    def _memory(self, place: Any, memory: Memory, step: Step) -> int:
        size = len(memory.content)
        address = self._arena + self._arena_used
        self._arena_used += -(-size // ALIGNMENT) * ALIGNMENT
        if self._arena_used > lib.RACE_ARENA:
            raise HarnessError(f"{step.label}: a round has {lib.RACE_ARENA} bytes of memory in all")
        ffi.memmove(ffi.cast("void *", address), memory.content, size)
        for offset in (*memory.stores, *memory.loads):
            if not 0 <= offset <= size - 4:
                raise HarnessError(f"{step.label}: 32 bits at {offset} are not within {size} bytes")
        for offset, slot in memory.stores.items():
            self._copy(place.stores, place.store_count, address + offset, self._slot(slot))
            place.store_count += 1
        for offset, slot in memory.loads.items():
            self._copy(place.loads, place.load_count, address + offset, self._fill(slot, step))
            place.load_count += 1
        return address

    @staticmethod
    def _copy(copies: Any, used: int, address: int, slot: int) -> None:
        if used == lib.RACE_COPIES:
            raise HarnessError(f"a call moves at most {lib.RACE_COPIES} slots in or out of memory")
        copies[used].address, copies[used].slot = address, slot
