"""What a C header really says: sizes, offsets and values, as a program compiled with it finds."""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vfio_hw.errors import HarnessError

# Of linux/kvm.h only what VFIO has to do with; all the rest of it would be new names to us.
_KVM = r"KVM_(?:(?:GET_)?API_VERSION|CREATE_VM|CREATE_DEVICE\w*|[A-Z]+_DEVICE_ATTR)"
_NAME = rf"_*(?:VFIO|IOMMU|IOMMUFD)_\w+|KVM_DEV_(?:TYPE_)?VFIO\w*|{_KVM}"
_STRUCT = re.compile(
    r"\bstruct\s+((?:vfio|iommu|iommufd)_\w+|kvm_create_device|kvm_device_attr)\s*\{"
)
_ENUM = re.compile(r"\benum\b[^{};]*\{([^}]*)\}")
_MACRO = re.compile(rf"^#define ({_NAME}) (.+)$", re.MULTILINE)
_CONSTANT = re.compile(_NAME)

_PROBE = """
#include <stddef.h>
#include <stdio.h>
#define MEMBER(s, m) (((struct s *)0)->m)
#define SIGNED(e) _Generic((e), signed char: 1, short: 1, int: 1, long: 1, long long: 1, default: 0)
#define NUMBER(c) \\
    printf("constant %s %llu\\n", #c, sizeof(c) == 8 ? (unsigned long long)(c) : (unsigned)(c));
#define TEXT(c) printf("constant %s %s\\n", #c, c);
#define SIZE(s) printf("size %s %zu\\n", #s, sizeof(struct s));
#define LAYOUT(s, m, size, element) \\
    printf("member %s %s %zu %zu %zu %d\\n", #s, #m, offsetof(struct s, m), (size_t)(size), \\
           (size_t)(element), SIGNED(MEMBER(s, m)));
#define SCALAR(s, m) LAYOUT(s, m, sizeof(MEMBER(s, m)), sizeof(MEMBER(s, m)))
#define ARRAY(s, m) LAYOUT(s, m, sizeof(MEMBER(s, m)), sizeof(MEMBER(s, m)[0]))
#define FLEXIBLE(s, m) LAYOUT(s, m, 0, sizeof(MEMBER(s, m)[0]))
"""


@dataclass(frozen=True)
class Member:
    """Where a member lies, in bytes; a flexible array has size 0 and only its elements a size."""

    offset: int
    size: int
    element: int
    signed: bool

    def __str__(self) -> str:
        sign = "signed, " if self.signed else ""
        array = f" in elements of {self.element}" if self.element != self.size else ""
        return f"{sign}{self.size} bytes{array} at offset {self.offset}"


@dataclass
class Facts:
    """All VFIO and iommufd names of a header; constants are unsigned numbers of their own width."""

    constants: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    members: dict[str, dict[str, Member]] = field(default_factory=dict)


def facts(source: str, include: Path | None = None) -> Facts:
    """Measure what ``source`` declares, ``include`` being searched before the system's headers.

    :raises HarnessError: there is no C compiler, or it refused the source.
    """
    search = [] if include is None else [f"-I{include}"]
    with tempfile.TemporaryDirectory(prefix="vfio-hw-") as scratch:
        probe = Path(scratch) / "probe.c"
        probe.write_text(source)
        declared = _run(_compiler(), *search, "-E", "-P", str(probe))
        macros = _run(_compiler(), *search, "-E", "-dM", str(probe))
        calls = "\n".join((*_constants(declared, macros), *_structs(declared)))
        probe.write_text(f"{source}\n{_PROBE}\nint main(void)\n{{\n{calls}\nreturn 0;\n}}\n")
        program = str(Path(scratch) / "probe")
        _run(_compiler(), *search, "-w", str(probe), "-o", program)
        return _read(_run(program))


def _compiler() -> str:
    return os.environ.get("CC", "cc")


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise HarnessError(
            f"measuring headers needs a C compiler and {command[0]} is not there: install gcc"
        ) from None
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise HarnessError(
            f"measuring headers with {command[0]} ended with status {done.returncode} and "
            f"'{(errors or ['no message'])[0]}': check that the headers are whole"
        )
    return done.stdout


def _constants(declared: str, macros: str) -> Iterator[str]:
    for name, value in _MACRO.findall(macros):
        yield f"TEXT({name})" if value.startswith('"') else f"NUMBER({name})"
    for body in _ENUM.findall(declared):
        for entry in body.split(","):
            name = entry.split("=")[0].strip()
            if _CONSTANT.fullmatch(name):
                yield f"NUMBER({name})"


def _structs(declared: str) -> Iterator[str]:
    for found in _STRUCT.finditer(declared):
        yield f"SIZE({found[1]})"
        for kind, path in _paths(_body(declared, found.end())):
            yield f"{kind}({found[1]}, {path})"


def _body(text: str, start: int) -> str:
    """What stands between the brace before ``start`` and the one that closes it."""
    depth = 1
    for end in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[start:end]
    raise HarnessError(f"measuring headers found no end of the struct at '{text[start:][:40]}'")


def _paths(body: str) -> Iterator[tuple[str, str]]:
    """Each member as the probe's macro and its path; those of an unnamed union are the struct's."""
    body = re.sub(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)", "", body)
    while body.strip():
        brace, semicolon = body.find("{"), body.find(";")
        inner = ""
        if 0 <= brace < semicolon:
            inner = _body(body, brace + 1)
            body = body[brace + len(inner) + 2 :]
            semicolon = body.find(";")
        declarators, body = body[:semicolon].strip(), body[semicolon + 1 :]
        names = re.findall(r"(\w+)\s*((?:\[[^\]]*\]\s*)*)(?:,|$)", declarators)
        if not names and brace < 0:
            raise HarnessError(f"measuring headers could not read the member '{declarators}'")
        for name, array in names:
            flexible = re.match(r"\[\s*\]", array)
            yield ("SCALAR" if not array else "FLEXIBLE" if flexible else "ARRAY"), name
        prefix = f"{names[0][0]}." if names else ""
        yield from ((kind, prefix + path) for kind, path in _paths(inner))


def _read(output: str) -> Facts:
    found = Facts()
    for line in output.splitlines():
        kind, name, rest = line.split(" ", 2)
        if kind == "constant":
            found.constants[name] = rest
        elif kind == "size":
            found.sizes[name] = int(rest)
        else:
            path, offset, size, element, signed = rest.split()
            layout = Member(int(offset), int(size), int(element), signed == "1")
            found.members.setdefault(name, {})[path] = layout
    return found
