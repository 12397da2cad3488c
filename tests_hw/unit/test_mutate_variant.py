"""This file checks that what can not be compiled or loaded is told with the mutant's name."""

import subprocess
from pathlib import Path

import pytest

from vfio_hw.mutate.symbols import unresolved

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
