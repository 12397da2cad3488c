"""This file checks that a changed file gets into its module, and that the build stays as it was."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.mutate.rebuild import rebuilt


def command(target: str, line: str) -> None:
    path = Path(target)
    path.with_name(f".{path.name}.cmd").write_text(f"savedcmd_{target} := {line}\n")
    subprocess.run(["sh", "-c", line.replace("$$", "$")], check=True)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """What Kbuild leaves of two modules: one of two objects, one with a source far away."""
    source, objects = tmp_path / "source", tmp_path / "objects"
    for directory in ("drivers/one", "virt/far", "arch/near"):
        (source / directory).mkdir(parents=True)
        (objects / directory).mkdir(parents=True)
    (objects / "source").symlink_to(source)
    (source / "drivers/one/own.h").write_text("#define OWN 1\n")
    (source / "drivers/one/a.c").write_text('#include "own.h"\nint a = OWN;\n')
    (source / "drivers/one/b.c").write_text("int b = 2;\n")
    (source / "virt/far/c.c").write_text("int c = 3;\n")
    monkeypatch.chdir(objects)
    for name in ("a", "b"):
        there = f"drivers/one/{name}"
        command(f"{there}.o", f"gcc -DCOST='\"$$1\"' -c -o {there}.o {source}/{there}.c")
    Path("drivers/one/m.mod").write_text("drivers/one/a.o\ndrivers/one/b.o\n")
    command("drivers/one/m.o", "ld -r -o drivers/one/m.o @drivers/one/m.mod")
    command("drivers/one/m.ko", "ld -r -o drivers/one/m.ko drivers/one/m.o")
    far = "arch/near/../../virt/far/c.o"
    line = f"gcc -c -o {far} {source}/arch/near/../../virt/far/c.c"
    command(far, line)
    Path("arch/near/n.mod").write_text(f"{far}\n")
    command("arch/near/n.o", "ld -r -o arch/near/n.o @arch/near/n.mod")
    command("arch/near/n.ko", "ld -r -o arch/near/n.ko arch/near/n.o")
    return objects


def fingerprint(directory: Path) -> dict[Path, str]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def value_of(module: Path, symbol: str) -> int:
    text = subprocess.run(
        ["objdump", "-s", "-j", ".data", module], capture_output=True, text=True, check=True
    ).stdout
    symbols = subprocess.run(["nm", module], capture_output=True, text=True, check=True).stdout
    (line,) = [each for each in symbols.splitlines() if each.endswith(f" {symbol}")]
    words = "".join("".join(row.split()[1:5]) for row in text.splitlines() if row[:1] == " ")
    at = int(line.split()[0], 16) * 2
    return int.from_bytes(bytes.fromhex(words[at : at + 8]), "little")


def test_the_module_has_the_changed_file_and_its_own_headers(build, tmp_path):
    before = fingerprint(build)
    view = tmp_path / "view"
    text = '#include "own.h"\nint a = OWN + 6;\n'
    assert rebuilt(build, "drivers/one/a.c", text, view) == [Path("drivers/one/m.ko")]
    assert value_of(view / "drivers/one/m.ko", "a") == 7
    assert value_of(view / "drivers/one/m.ko", "b") == 2
    assert fingerprint(build) == before


def test_a_source_that_is_compiled_from_elsewhere_is_found(build, tmp_path):
    before = fingerprint(build)
    view = tmp_path / "view"
    assert rebuilt(build, "virt/far/c.c", "int c = 30;\n", view) == [Path("arch/near/n.ko")]
    assert value_of(view / "arch/near/n.ko", "c") == 30
    assert fingerprint(build) == before


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("drivers/one/a.c", "int a = ;\n", "compiling drivers/one/a.c: sh failed"),
        ("drivers/one/z.c", "int z;\n", "build this kernel"),
    ],
)
def test_what_does_not_compile_is_told_in_a_sentence(build, tmp_path, file, text, words):
    with pytest.raises(HarnessError) as error:
        rebuilt(build, file, text, tmp_path / "view")
    assert words in str(error.value)


def test_a_file_that_is_built_in_is_told_so(build, tmp_path):
    Path("arch/near/n.mod").unlink()
    with pytest.raises(HarnessError, match="is in no module"):
        rebuilt(build, "virt/far/c.c", "int c;\n", tmp_path / "view")
