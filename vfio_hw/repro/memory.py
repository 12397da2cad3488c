"""The memory that the calls of a C program get by address."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_PATHS = {"group": "group_node", "cdev": "cdev_node"}


@dataclass(frozen=True)
class Copy:
    """4 or 8 bytes that move between a slot and this memory."""

    at: str
    slot: str
    size: int


@dataclass
class Memory:
    """One array of the program, with those that it points to; ``pages`` by their places there."""

    name: str
    content: bytes
    path: str | None
    stores: list[Copy] = field(default_factory=list)
    loads: list[Copy] = field(default_factory=list)
    pointers: list[tuple[int, "Memory"]] = field(default_factory=list)
    pages: list[tuple[int, str]] = field(default_factory=list)

    @property
    def needed(self) -> list[str]:
        """The slots that must be full for the call."""
        return [copy.slot for copy in self.stores] + [
            slot for _, other in self.pointers for slot in other.needed
        ]

    def before(self) -> Iterator[str]:
        """Statements before the call."""
        for copy in self.stores:
            yield f"put({copy.at}, slots[{copy.slot}], {copy.size});"
        for _, other in self.pointers:
            yield from other.before()

    def after(self) -> Iterator[str]:
        """Statements after it succeeded."""
        for copy in self.loads:
            yield f"fill({copy.slot}, get({copy.at}, {copy.size}));"
        for _, other in self.pointers:
            yield from other.after()


class Memories:
    """All memory of a program, as it comes.

    :param slots: as in the failure file; ``names`` are what they are called in C.
    :param pages: as in the failure file.
    """

    def __init__(
        self,
        slots: Sequence[Mapping[str, Any]],
        names: Sequence[str],
        pages: Sequence[Mapping[str, Any]],
    ) -> None:
        self._slots, self._names, self._pages = slots, names, pages
        self._all: list[Memory] = []

    def add(self, about: Mapping[str, Any]) -> Memory:
        """One from the failure file."""
        name = f"memory_{len(self._all)}"
        path = about.get("path")
        memory = Memory(name, bytes.fromhex(about.get("bytes", "")), path)
        self._all.append(memory)
        memory.stores += self._copies(name, about.get("stores", {}))
        memory.loads += self._copies(name, about.get("loads", {}))
        for at, other in about.get("pointers", {}).items():
            if "page" in other:
                memory.pages.append((int(at), self.page(other)))
            else:
                memory.pointers.append((int(at), self.add(other)))
        return memory

    def page(self, about: Mapping[str, Any]) -> str:
        """The address of a page from the failure file."""
        return f"(long)page({range(len(self._pages))[about['page']]})"

    def declared(self) -> str:
        """The arrays."""
        lines = []
        for memory in self._all:
            if memory.path:
                lines.append(f"static char {memory.name}[600];")
                continue
            size = max(1, len(memory.content))
            lines.append(
                f"static unsigned char {memory.name}[{size}] __attribute__((aligned(16)));"
            )
            lines.append(f"static const unsigned char {memory.name}_at_first[{size}] = ")
            lines.append(f"\t{_initial(memory.content)};")
        for number, page in enumerate(self._pages):
            if content := bytes.fromhex(page["bytes"]):
                name = f"page_{number}_at_first[{len(content)}]"
                lines.append(f"static const unsigned char {name} = {_initial(content)};")
        return "\n".join(lines) + "\n"

    def refreshed(self) -> str:
        """The function that makes all of it what it is when a round begins."""
        lines = ["", "static void fresh(void)", "{"]
        for memory in self._all:
            if memory.path:
                lines.append(f"\tstrcpy({memory.name}, {_PATHS[memory.path]});")
            else:
                lines.append(
                    f"\tmemcpy({memory.name}, {memory.name}_at_first, sizeof({memory.name}));"
                )
        for memory in self._all:
            for at, other in memory.pointers:
                lines.append(f"\tput({memory.name} + {int(at)}, (long){other.name}, 8);")
            for at, where in memory.pages:
                lines.append(f"\tput({memory.name} + {at}, {where}, 8);")
        for number, page in enumerate(self._pages):
            if page["bytes"]:
                name = f"page_{number}_at_first"
                lines.append(f"\tmemcpy(page({number}), {name}, sizeof({name}));")
        return "\n".join([*lines, "}", ""])

    def _copies(self, name: str, about: Mapping[str, int]) -> Iterator[Copy]:
        for at, slot in about.items():
            size = 8 if self._slots[slot]["mapping"] else 4
            yield Copy(f"{name} + {int(at)}", self._names[slot], size)


def string(text: str) -> str:
    """A string literal of C."""
    return json.dumps(text)


def _initial(content: bytes) -> str:
    text = content.removesuffix(b"\0")
    if len(text) > 3 and text.isascii() and text.decode("ascii").isprintable():
        return string(text.decode("ascii"))
    used = content.rstrip(b"\0")
    return "{" + (", ".join(f"{byte:#04x}" for byte in used) or "0") + "}"
