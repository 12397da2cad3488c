"""This file checks that the extension is made of the declarations, and knows when it is not."""

import subprocess
import sys

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.uapi import builder, ffi, lib
from vfio_hw.uapi.facts import facts


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of everything that the extension is made of, with the built extension."""
    declarations, race = tmp_path / "uapi" / "declarations", tmp_path / "race"
    for path in builder._input_files():
        if path.suffix == ".py":
            continue
        target = (declarations if path.parent.name == "declarations" else race) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    built = builder.extension_path()
    (tmp_path / "uapi" / built.name).write_bytes(built.read_bytes())
    monkeypatch.setattr(builder, "_HERE", tmp_path / "uapi")
    monkeypatch.setattr(builder, "_RACE", race)
    return tmp_path


def test_every_constant_and_struct_of_the_declarations_is_in_the_extension():
    declared = facts(builder.c_text())
    assert len(declared.constants) > 300
    for name, text in declared.constants.items():
        value = getattr(lib, name)
        assert (str(value) if isinstance(value, int) else ffi.string(value).decode()) == text
    for name, size in declared.sizes.items():
        assert ffi.sizeof(f"struct {name}") == size
        assert len(declared.members[name]) > 0


def test_the_built_extension_is_current(sources):
    assert builder.is_current()


@pytest.mark.parametrize("name", ["uapi/declarations/irq.h", "race/engine.c", "race/engine.cdef"])
def test_a_changed_source_makes_the_extension_stale_until_it_is_built(sources, name, capfd):
    with (sources / name).open("a") as source:
        source.write("/* changed */\n")
    assert not builder.is_current()
    assert builder.main() == 0
    assert builder.is_current()
    assert sorted(path.name for path in (sources / "uapi").iterdir()) == sorted(
        [builder.extension_path().name, "declarations"]
    )


def test_an_extension_that_is_not_there_is_not_current(sources):
    builder.extension_path().unlink()
    assert not builder.is_current()


def test_a_refused_build_leaves_the_old_extension(sources, capfd):
    before = builder.extension_path().read_bytes()
    with (sources / "race" / "engine.c").open("a") as source:
        source.write("nonsense\n")
    assert builder.main() == 1
    assert "ended with status 1" in capfd.readouterr().err
    assert builder.extension_path().read_bytes() == before
    assert not list((sources / "uapi").glob(".build-*"))


def test_a_build_that_dies_half_way_leaves_the_old_extension(sources, monkeypatch):
    before = builder.extension_path().read_bytes()
    compiler = sources / "cc"
    compiler.write_text('#!/bin/sh\nfor last; do :; done\necho half > "$last"\nexit 1\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(HarnessError, match="ended with status 1"):
        builder.build()
    assert builder.extension_path().read_bytes() == before


def test_no_compiler_is_one_sentence(sources, monkeypatch):
    monkeypatch.setenv("CC", "/nonexistent/cc")
    with pytest.raises(HarnessError, match="needs a C compiler and /nonexistent/cc is not there"):
        builder.build()


ABSENT = "sys.modules[NAME] = None"
BROKEN = """
class Finder:
    def find_spec(name, path, target=None):
        return util.spec_from_file_location(name, sys.argv[1]) if name == NAME else None
sys.meta_path.insert(0, Finder)
"""
SCRIPT = """
from vfio_hw.uapi import builder
from vfio_hw.errors import HarnessError
assert builder.is_current()
try:
    from vfio_hw.uapi import lib
except HarnessError as error:
    print(error)
"""


@pytest.mark.parametrize("state", [ABSENT, BROKEN], ids=["absent", "broken"])
def test_the_builder_runs_where_there_is_no_extension(tmp_path, state):
    junk = tmp_path / builder.extension_path().name
    junk.write_text("junk")
    script = f"import sys\nfrom importlib import util\nNAME = {builder.MODULE!r}\n{state}{SCRIPT}"
    command = [sys.executable, "-c", script, str(junk)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    assert "run python -m vfio_hw.uapi.builder" in done.stdout
