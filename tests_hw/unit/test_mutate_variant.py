"""This file checks that what can not be compiled or loaded is told with the mutant's name."""

import subprocess
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.mutate import mutant, variant
from vfio_hw.mutate.symbols import unresolved
from vfio_hw.vm.kernels import Kernel

SYMVERS = """\
0x00000000\tkept\tvmlinux\tEXPORT_SYMBOL_GPL\t
0x00000000\tadded\tvmlinux\tEXPORT_SYMBOL_GPL\t
0x00000000\tfrom_friend\tdrivers/friend\tEXPORT_SYMBOL_GPL\t
0x00000000\talso_from_friend\tdrivers/friend\tEXPORT_SYMBOL_GPL\t
0x00000000\tfrom_stranger\tdrivers/stranger\tEXPORT_SYMBOL_GPL\t
0x00000000\tfenced\tvmlinux\tEXPORT_SYMBOL_GPL\tFENCE
"""


def compiled(module: Path, calls: list[str], more: str = "") -> None:
    module.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(
        f"extern void {name}(void); void use_{name}(void) {{ {name}(); }}\n" for name in calls
    )
    command = ["gcc", "-c", "-xc", "-", "-o", str(module)]
    subprocess.run(command, input=body + more, text=True, check=True)


@pytest.mark.parametrize(
    ("calls", "missing"),
    [
        ([], []),
        (["added", "also_from_friend"], []),
        (["nowhere", "elsewhere"], ["elsewhere", "nowhere"]),
        (["from_stranger"], ["from_stranger"]),
        (["fenced"], ["fenced"]),
    ],
)
def test_a_module_that_uses_what_nobody_gives_it_is_told(tmp_path, calls, missing):
    objects, view, module = tmp_path / "objects", tmp_path / "view", Path("drivers/m.ko")
    before = ["kept", "from_friend", "unknown_before"]
    compiled(objects / module, before)
    compiled(view / module, before + calls)
    (objects / "Module.symvers").write_text(SYMVERS)
    assert unresolved(objects, module, view) == missing


def test_a_symbol_of_a_namespace_that_the_module_imports_is_given_to_it(tmp_path):
    objects, view, module = tmp_path / "objects", tmp_path / "view", Path("m.ko")
    compiled(objects / module, [])
    more = 'const char note[] = "import_ns=FENCE";\n'
    compiled(view / module, ["fenced"], more)
    (objects / "Module.symvers").write_text(SYMVERS)
    assert unresolved(objects, module, view) == []


HEADER = """\
// id: X-1
// title: made for this test
// class: lost request
// promise: P2
// origin: plausible
// device: none
// oracle: assertion
// kind: deterministic
// file: drivers/one.c

"""
MADE = "@@ @@\n- kept();\n+ {};\n"
SOURCE = "void kept(void), added(void), nowhere(void);\nvoid test(void)\n{\n\tkept();\n}\n"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Makes a variant in which a call is replaced, of a kernel that has one module."""
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path / "cache"))
    objects, modules = tmp_path / "objects", tmp_path / "modules"
    (objects / "drivers").mkdir(parents=True)
    (modules / "kernel" / "drivers").mkdir(parents=True)
    (objects / "drivers" / "one.c").write_text(SOURCE)
    commands = {
        "one.o": "gcc -Werror -c -o drivers/one.o drivers/one.c",
        "one.ko": "ld -r -o drivers/one.ko drivers/one.o",
    }
    for name, line in commands.items():
        (objects / "drivers" / f".{name}.cmd").write_text(f"savedcmd_drivers/{name} := {line}\n")
        subprocess.run(["sh", "-c", line], cwd=objects, check=True)
    (objects / "drivers" / "one.mod").write_text("drivers/one.o\n")
    (objects / "Module.symvers").write_text(SYMVERS)
    (modules / "kernel" / "drivers" / "one.ko").touch()
    kernel = Kernel("k", "7.3.4", tmp_path, modules, None, None, objects, objects=objects)

    def make(call: str) -> Path:
        path = tmp_path / "X-1.cocci"
        path.write_text(HEADER + MADE.format(call))
        return variant.provide(mutant.read(path), kernel).modules

    return make


def test_a_module_with_the_mutant_takes_the_place_of_the_other(made):
    assert (made("added()") / "kernel" / "drivers" / "one.ko").stat().st_size


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("retrun", ["drivers/one.c does not compile", "retrun", "(line 4: `retrun;`)"]),
        ("nowhere()", ["one.ko that can not be loaded", "nowhere"]),
    ],
)
def test_a_mutant_that_is_none_is_told_with_what_to_correct(made, call, words):
    with pytest.raises(HarnessError) as error:
        made(call)
    assert str(error.value).startswith("X-1: ")
    assert str(error.value).endswith("correct the patch")
    assert [word for word in words if word not in str(error.value)] == []
