"""This file checks how counters leave a guest, and how gcov's answer to them is taken."""

import io
import json
import subprocess
import zipfile

import pytest

from vfio_hw.coverage import collect, gcov
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import profiling

NAME = "drivers/vfio/program"
PROGRAM = """\
int reached(int x)
{
	if (x > 1)
		return 1;
	return 0;
}

int main(int argc, char **argv)
{
	return reached(argc);
}
"""


def build(objects):
    compiling = ["gcc", "--coverage", "-c", "-o", f"{NAME}.o", f"{NAME}.c"]
    subprocess.run(compiling, cwd=objects, check=True)
    subprocess.run(["gcc", "--coverage", "-o", "program", f"{NAME}.o"], cwd=objects, check=True)


@pytest.fixture
def objects(tmp_path):
    """Where a program that counts was compiled, from a source in place, and has run."""
    directory = tmp_path / "objects"
    source = directory / f"{NAME}.c"
    source.parent.mkdir(parents=True)
    source.write_text(PROGRAM)
    build(directory)
    subprocess.run(["./program"], cwd=directory, check=True)
    return directory


@pytest.fixture
def results(objects, tmp_path):
    """The results of a guest in whose debugfs the counters of that program were."""
    debugfs, counters = tmp_path / "debugfs", objects / f"{NAME}.gcda"
    shown = debugfs / str(counters)[1:]
    shown.parent.mkdir(parents=True)
    counters.rename(shown)
    files = collect.counters(debugfs)
    assert list(files) == [str(counters)]
    (tmp_path / "results" / "guest-1").mkdir(parents=True)
    (tmp_path / "results" / "guest-1" / gcov.ARCHIVE).write_bytes(collect.packed(files))
    return tmp_path / "results"


def test_counters_become_counts_of_lines(results):
    found = gcov.gathered(results)
    assert list(found.files) == [f"{NAME}.c"]
    counts = found.files[f"{NAME}.c"].counts
    assert counts[4] == 0
    assert counts[5] == counts[10] == 1


def test_what_no_guest_has_loaded_has_lines_that_were_not_reached(objects, results):
    for name in ("drivers/vfio/unloaded", "drivers/usb/other"):
        (objects / name).parent.mkdir(exist_ok=True)
        (objects / f"{name}.c").write_text("int never(void)\n{\n\treturn 0;\n}\n")
        compiling = ["gcc", "--coverage", "-c", "-o", f"{name}.o", f"{name}.c"]
        subprocess.run(compiling, cwd=objects, check=True)
    found = gcov.gathered(results)
    assert list(found.files) == [f"{NAME}.c", "drivers/vfio/unloaded.c"]
    assert set(found.files["drivers/vfio/unloaded.c"].counts.values()) == {0}


def test_without_the_compiler_s_notes_counters_say_nothing(objects, results):
    (objects / f"{NAME}.gcno").unlink()
    with pytest.raises(HarnessError, match=r"\.gcno is gone.*build that kernel again"):
        gcov.gathered(results)


def test_counters_of_another_build_are_refused(objects, results):
    (objects / f"{NAME}.c").write_text(PROGRAM.replace("x > 1", "x > 1 && x < 9"))
    build(objects)
    with pytest.raises(HarnessError, match=r"stamp mismatch.*: build that kernel again"):
        gcov.gathered(results)


def test_what_a_kernel_counts_elsewhere_stays_in_it(tmp_path):
    wanted = ("drivers/vfio/group.gcda", "drivers/vfio/pci/vfio_pci.gcda", "virt/kvm/vfio.gcda")
    for name in (*wanted, "virt/kvm/kvm_main.gcda", "drivers/pci/pci.gcda", "drivers/vfio/x.gcno"):
        path = tmp_path / "linux" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert list(collect.counters(tmp_path)) == [f"/linux/{name}" for name in wanted]


def test_guests_that_have_sent_nothing_are_no_coverage(tmp_path):
    with pytest.raises(HarnessError, match=r"no guest of .* has sent"):
        gcov.gathered(tmp_path)


def test_the_same_counters_make_the_same_archive():
    files = {"/objects/a.gcda": b"a" * 1000, "/objects/b.gcda": b"b"}
    assert collect.packed(files) == collect.packed(files)
    with zipfile.ZipFile(io.BytesIO(collect.packed(files))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files


@pytest.mark.parametrize(("command", "status"), [(["true"], 0), (["sh", "-c", "exit 7"], 7)])
def test_the_status_of_a_command_is_passed_on_and_its_counters_are_sent(
    command, status, tmp_path, monkeypatch
):
    port = tmp_path / "port"
    port.touch()
    monkeypatch.setattr(collect, "PORT", port)
    assert collect.main(command) == status
    assert json.loads(port.read_text())["event"] == "coverage"


def test_a_command_that_is_not_there_has_a_shell_s_status(tmp_path, monkeypatch, capsys):
    port = tmp_path / "port"
    port.touch()
    monkeypatch.setattr(collect, "PORT", port)
    assert collect.main(["/nowhere/at-all"]) == 127
    assert capsys.readouterr().err == "/nowhere/at-all: No such file or directory\n"


def test_only_a_kernel_of_its_own_is_profiled():
    assert profiling.variables(("base", "debug")) == []
    (variable,) = profiling.variables(("base", "cov"))
    assert variable.startswith("GCOV_PROFILE=")


@pytest.mark.parametrize(
    ("target", "profiled"),
    [
        ("drivers/vfio/group.o", True),
        ("drivers/vfio/pci/vfio_pci_core.o", True),
        ("drivers/vfio/vfio.mod.o", False),
        ("samples/vfio-mdev/mtty.o", True),
        ("arch/x86/kvm/../../../virt/kvm/vfio.o", True),
        ("arch/x86/kvm/svm/svm.o", False),
        ("drivers/iommu/iommufd/device.o", True),
        ("drivers/iommu/iommufd/main.o", False),
        ("drivers/base/device.o", False),
    ],
)
def test_make_profiles_what_is_named_and_nothing_else(tmp_path, target, profiled):
    # As in Kbuild, a makefile below the one that is told, which sets the variable itself.
    (tmp_path / "Makefile").write_text("all:\n\t@$(MAKE) -rR -s -f below $(TARGET)\n")
    (tmp_path / "below").write_text(
        "GCOV_PROFILE := n\n%.o: always\n\t@echo '<$(GCOV_PROFILE)>'\nalways:\n"
    )
    command = ["make", "-s", *profiling.variables(("cov",)), f"TARGET={target}"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ("<y>" in said.stdout) is profiled
