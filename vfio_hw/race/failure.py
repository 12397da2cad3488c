"""A race that failed, as JSON can hold it: what it takes to run it again, or to write it in C."""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vfio_hw.race.actor import Actor
from vfio_hw.race.outcome import Round
from vfio_hw.race.program import Argument, Memory, Page, Slot, Step
from vfio_hw.race.scene import Scene
from vfio_hw.uapi import ffi, lib

VERSION = 2

_MDEVS = Path("/sys/bus/mdev/devices")
_GROUP = re.compile(rb"/dev/vfio/\d+\0")
_CDEV = re.compile(rb"/dev/vfio/devices/vfio\d+\0")


class Device(Protocol):
    """What a race needs to be told of a device."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path: ...


@dataclass(frozen=True)
class Failure:
    """Where in a race it failed.

    :param deadline: seconds that a round of it might take.
    :param shifts_ns: by how much each actor's offset was moved; None: not known, for the kernel
        died, or an oracle found something only afterwards.
    :param played: the round, if it ended.
    """

    scene: Scene
    complaint: str
    seed: int
    rounds: int
    seconds: float
    window_ns: int
    legal: Collection[tuple[str, ...]]
    deadline: float
    shifts_ns: Sequence[int] | None = None
    played: Round | None = None

    def as_json(self, device: dict[str, Any] | None) -> dict[str, Any]:
        """What goes into the file; ``device`` is from :func:`described`."""
        writer = _Writer()
        return {
            "vfio_hw_race": VERSION,
            "kernel": os.uname().release,
            "complaint": self.complaint,
            "device": device,
            "seed": self.seed,
            "rounds": self.rounds,
            "seconds": round(self.seconds, 3),
            "window_ns": self.window_ns,
            "deadline": self.deadline,
            "nth": self.scene.nth,
            "shifts_ns": None if self.shifts_ns is None else list(self.shifts_ns),
            "legal": sorted(map(list, self.legal)),
            "outcome": None if self.played is None else list(self.played.outcome),
            "calls": [] if self.played is None else self.played.describe().splitlines(),
            "prologue": writer.program(self.scene.prologue),
            "actors": [writer.actor(actor) for actor in self.scene.actors],
            "epilogue": writer.program(self.scene.epilogue),
            "slots": writer.slots,
            "pages": writer.pages,
        }


def described(device: Device) -> dict[str, Any]:
    """How the device can be had again: the type of an mdev, the driver of a PCI function."""
    about = {"kind": device.kind, "name": device.name}
    if (_MDEVS / device.name).exists():
        kind = (_MDEVS / device.name / "mdev_type").resolve()
        return {**about, "bus": "mdev", "type": kind.name, "parent": kind.parent.parent.name}
    driver = (device.path / "driver").resolve().name
    return {**about, "bus": "pci", "driver": driver}


class _Writer:
    """Numbers slots and pages as they come."""

    def __init__(self) -> None:
        self.slots: list[dict[str, Any]] = []
        self.pages: list[dict[str, Any]] = []
        self._numbers: dict[Slot | Page, int] = {}

    def program(self, steps: Sequence[Step]) -> list[dict[str, Any]]:
        return [self._step(step) for step in steps]

    def actor(self, actor: Actor) -> dict[str, Any]:
        return {
            "name": actor.name,
            "offset_ns": actor.offset_ns,
            "setup": self.program(actor.setup),
            "program": self.program(actor.program),
            "process": actor.process,
            "pid": None if actor.pid is None else self._slot(actor.pid),
            "storm": actor.storm is not None,
            "cpu": actor.cpu,
            "policy": actor.policy,
        }

    def _step(self, step: Step) -> dict[str, Any]:
        return {
            "label": step.label,
            "call": _name(step.number),
            "arguments": [self._argument(argument) for argument in step.arguments],
            "takes": step.takes,
            "into": None if step.into is None else self._slot(step.into),
            "delay_ns": step.delay_ns,
            "decisive": step.decisive,
        }

    def _argument(self, argument: Argument) -> Any:
        if isinstance(argument, Slot):
            return {"slot": self._slot(argument)}
        if isinstance(argument, Memory):
            return {"memory": self._memory(argument)}
        if isinstance(argument, Page):
            return self._page(argument)
        return argument

    def _memory(self, memory: Memory) -> dict[str, Any]:
        parts = {
            "stores": {str(at): self._slot(slot) for at, slot in memory.stores.items()},
            "loads": {str(at): self._slot(slot) for at, slot in memory.loads.items()},
            "pointers": {
                str(at): self._page(other) if isinstance(other, Page) else self._memory(other)
                for at, other in memory.pointers.items()
            },
            "slow": memory.slow,
        }
        # The numbers of these nodes are others the next time.
        if _GROUP.fullmatch(memory.content):
            content: dict[str, Any] = {"path": "group"}
        elif _CDEV.fullmatch(memory.content):
            content = {"path": "cdev"}
        else:
            content = {"bytes": memory.content.hex()}
        return content | {name: part for name, part in parts.items() if part}

    def _slot(self, slot: Slot) -> int:
        if slot not in self._numbers:
            self._numbers[slot] = len(self.slots)
            about = {"name": slot.name, "descriptor": slot.descriptor, "mapping": slot.mapping}
            self.slots.append(about)
        return self._numbers[slot]

    def _page(self, page: Page) -> dict[str, int]:
        if page not in self._numbers:
            self._numbers[page] = len(self.pages)
            self.pages.append({"name": page.name, "bytes": page.content.hex()})
        return {"page": self._numbers[page]}


def _name(number: int) -> str:
    if number == lib.RACE_LOAD:
        return "load"
    if number == lib.RACE_STORE:
        return "store"
    name = ffi.string(lib.race_call_name(number))
    return name if isinstance(name, str) else name.decode()
