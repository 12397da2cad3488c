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


def test_no_compiler_is_one_sentence(sources, monkeypatch):
    monkeypatch.setenv("CC", "/nonexistent/cc")
    with pytest.raises(HarnessError, match="needs a C compiler and /nonexistent/cc is not there"):
        builder.build()


def test_the_builder_runs_where_there_is_no_extension():
    """A module that is None in sys.modules can not be imported."""
    script = (
        "import sys; sys.modules['vfio_hw.uapi._binding'] = None\n"
        "from vfio_hw.uapi import builder\n"
        "from vfio_hw.errors import HarnessError\n"
        "assert builder.is_current()\n"
        "try:\n"
        "    from vfio_hw.uapi import lib\n"
        "except HarnessError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == ""
    assert "run python -m vfio_hw.uapi.builder" in done.stdout
