"""Writes the C program of a failure: what all have in common is in head.c and rounds.c."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vfio_hw.errors import HarnessError
from vfio_hw.host.injection import SETTINGS
from vfio_hw.host.text import printable, printable_lines
from vfio_hw.race.again import WIDTHS, Recorded
from vfio_hw.race.edge import NEAR_NS
from vfio_hw.repro.memory import Memories, string
from vfio_hw.repro.refusals import why_not
from vfio_hw.repro.scenes import scene, word

_HERE = Path(__file__).parent
_MIDDLE = """\

/* ---- memory that calls get by address ---- */

@MEMORY@
/* ---- the scene ---- */

@SCENE@
/* ---- the programs ---- */

@PROGRAMS@
"""

#: Seconds that a round may take, if no more is known of it.
DEADLINE = 10
# When it is not known how many rounds it took.
_ROUNDS = 2000


def written(recorded: Recorded) -> str:
    """The program.

    :raises HarnessError: the failure can not be had without the tests, or its file is damaged.
    """
    if reason := why_not(recorded):
        raise HarnessError(f"{recorded.path}: {reason}: use vfio-hw replay")
    try:
        return _Writer(recorded).text()
    except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise HarnessError(
            f"{recorded.path} is damaged: a part of its programs can not be read ({error!r}): take"
            " another copy"
        ) from None


class _Writer:
    def __init__(self, recorded: Recorded) -> None:
        self._recorded, self._file = recorded, recorded.content
        self._slots = _identifiers(slot["name"] for slot in self._file["slots"])
        self._labels: list[str] = []
        self._decisive: list[bool] = []
        self._memories = Memories(self._file["slots"], self._slots, self._file["pages"])

    def text(self) -> str:
        file = self._file
        prologue = self._function("prologue", file["prologue"])
        actors = file["actors"]
        setups = [self._function(f"setup_{i}", actor["setup"]) for i, actor in enumerate(actors)]
        first, programs = [], []
        for index, actor in enumerate(actors):
            first.append(len(self._labels))
            programs.append(self._function(f"actor_{index}", actor["program"]))
        first.append(len(self._labels))
        epilogue = self._function("epilogue", file["epilogue"])
        known = self._recorded.offsets_ns
        offsets = _offsets(file) if known is None else known
        settings = () if file["nth"] is None else SETTINGS.items()
        legal = [" / ".join(outcome) for outcome in file["legal"]]
        pids = [-1 if actor["pid"] is None else int(actor["pid"]) for actor in actors]
        parts = {
            "TITLE": _comment(" against ".join(actor["name"] for actor in actors)),
            "KERNEL": _comment(file["kernel"]),
            "TEST": _comment(file["test"]),
            "COMPLAINT": _comment(file["complaint"] or "not known: the kernel died of it"),
            "NEEDS": _comment(scene(file).needs),
            "ROUNDS": self._recorded.most_rounds or _ROUNDS,
            "DEADLINE": max(DEADLINE, math.ceil(file["deadline"])),
            "NEAR_NS": NEAR_NS,
            "WIDTHS": WIDTHS,
            "MOST_WIDTHS": self._recorded.most_widths,
            "SETTINGS": len(settings),
            "SETTING_VALUES": "".join(
                f"{{{string(str(path))}, {string(value)}}}, " for path, value in settings
            ),
            "ACTORS": len(actors),
            "CALLS": max(1, len(self._labels)),
            "PROLOGUE": len(file["prologue"]),
            "PAGES": len(file["pages"]),
            "SLOTS": "".join(f"{slot}, " for slot in self._slots),
            "SLOT_NAMES": ", ".join(string(slot["name"]) for slot in file["slots"]) or "0",
            "LABELS": "".join(f"\t{string(label)},\n" for label in self._labels),
            "MEMORY": self._memories.declared() + self._memories.refreshed(),
            "SCENE": scene(file).code,
            "PROGRAMS": "\n".join([prologue, *setups, *programs, epilogue, self._close_left()]),
            "PROGRAM_NAMES": ", ".join(f"actor_{i}" for i in range(len(actors))),
            "SETUP_NAMES": ", ".join(f"setup_{i}" for i in range(len(actors))),
            "ACTOR_NAMES": ", ".join(string(actor["name"]) for actor in actors),
            "PROCESSES": ", ".join(str(int(actor["process"])) for actor in actors),
            "POLICIES": ", ".join(f"SCHED_{word(actor['policy']).upper()}" for actor in actors),
            "CPUS": ", ".join("-1" if a["cpu"] is None else str(int(a["cpu"])) for a in actors),
            "PIDS": ", ".join(map(str, pids)),
            "OFFSETS": ", ".join(str(int(each)) for each in offsets),
            "DECISIVE": ", ".join(str(int(each)) for each in self._decisive) or "0",
            "FIRST": ", ".join(map(str, first)),
            "LEGAL": "".join(f"\t{string(outcome)},\n" for outcome in legal),
            "SEED": file["seed"] % 2**32,
        }
        head, calls, *rounds = (
            (_HERE / f"{name}.c").read_text() for name in ("head", "calls", "rounds", "main")
        )
        frame = "".join((head, "\n", calls, _MIDDLE, *rounds))
        # What is not printable is in no file of ours: it would come from the failure file.
        return printable_lines(re.sub(r"@([A-Z_]+)@", lambda match: str(parts[match[1]]), frame))

    def _function(self, name: str, program: Sequence[Mapping[str, Any]]) -> str:
        lines = [line for step in program for line in self._step(step)]
        body = "\n".join(f"\t{line}" if line else "" for line in lines)
        return f"static void {name}(long long since)\n{{\n{body}\n\t(void)since;\n}}\n"

    def _step(self, step: Mapping[str, Any]) -> Iterator[str]:
        number = len(self._labels)
        self._labels.append(step["label"])
        self._decisive.append(step["decisive"])
        arguments, needed, memories = [], [], []
        for argument in step["arguments"]:
            if isinstance(argument, dict) and "slot" in argument:
                slot = self._slots[argument["slot"]]
                needed.append(slot)
                arguments.append("taken" if step["takes"] else f"slots[{slot}]")
            elif isinstance(argument, dict) and "page" in argument:
                arguments.append(self._memories.page(argument))
            elif isinstance(argument, dict):
                memory = self._memories.add(argument["memory"])
                memories.append(memory)
                needed += memory.needed
                arguments.append(f"(long){memory.name}")
            else:
                arguments.append(f"{_signed(argument)}L")
        yield f"/* {_comment(step['label'])} */"
        if step["delay_ns"]:
            yield f"wait_until(since + {int(step['delay_ns'])});"
        taken = next((slot for slot in needed), None) if step["takes"] else None
        condition = " && ".join(f"full({slot})" for slot in dict.fromkeys(needed)) or "1"
        yield f"if ({condition}) {{"
        if taken is not None:
            yield f"\tlong taken = take({taken});"
            yield ""
        for memory in memories:
            yield from (f"\t{line}" for line in memory.before())
        if step["call"] in ("load", "store"):
            base, offset, size, *value = [*arguments, "0"]
            yield (
                f"\ttouch({number}, {int(step['call'] == 'store')}, {base} + {offset},"
                f" {size}, {value[0]});"
            )
        else:
            yield f"\tCALL({', '.join([str(number), 'SYS_' + word(step['call']), *arguments])});"
        for memory in memories:
            yield from (f"\tif (OK({number})) {line}" for line in memory.after())
        if step["into"] is not None:
            yield f"\tif (OK({number})) fill({self._slots[step['into']]}, calls[{number}].value);"
        yield "} else {"
        yield f"\tcalls[{number}].state = SKIPPED;"
        yield "}"
        yield f"since = calls[{number}].end ? calls[{number}].end : since;"

    def _close_left(self) -> str:
        owned = {
            step["into"]
            for actor in self._file["actors"]
            if actor["process"]
            for step in (*actor["setup"], *actor["program"])
        }
        lines = []
        for index, (about, slot) in enumerate(zip(self._file["slots"], self._slots, strict=True)):
            if index in owned:
                continue
            if not about["mapping"] and not about["descriptor"]:
                continue
            lines.append(f"\tshared->closing = {slot};")
            if about["mapping"]:
                lines.append(
                    f"\tif (full({slot})) munmap((void *)take({slot}), {int(about['mapping'])});"
                )
            else:
                lines.append(f"\tif (full({slot})) close(take({slot}));")
        lines.append("\tshared->closing = -1;")
        return "static void close_left(void)\n{\n" + "\n".join(lines) + "\n}\n"


def _offsets(file: Mapping[str, Any]) -> list[int]:
    """At the edge where most rounds were, when the one that failed is not known."""
    names = [actor["name"] for actor in file["actors"]]
    offsets = [int(actor["offset_ns"]) for actor in file["actors"]]
    edges: dict[str, Any] = {}
    for edge in sorted(file.get("edges") or [], key=lambda edge: edge["rounds"]):
        edges[edge["actor"]] = edge["position_ns"]
    for name, position in edges.items():
        offsets[names.index(name)] += position
    return offsets


def _identifiers(names: Iterator[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        word = re.sub(r"\W+", "_", name).strip("_").upper() or "SLOT"
        word = f"S_{word}"
        found.append(word if word not in found else f"{word}_{len(found)}")
    return found


def _signed(value: int) -> int:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    return value - 2**64 if value >= 2**63 else value


def _comment(text: str) -> str:
    """What a comment can hold of a file that anybody may have written."""
    return printable(" ".join(text.split())).replace("*/", "* /")
