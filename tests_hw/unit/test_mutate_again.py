"""This file checks which mutants are tried, on what, and which not once more."""

from dataclasses import replace

import pytest

from tests_hw.unit.conftest import Bench
from vfio_hw.mutate import judging, seen
from vfio_hw.mutate.record import (
    CLEAN,
    DETECTED,
    SURVIVED,
    UNCLEAR,
    UNFIT,
    Verdict,
)


@pytest.mark.parametrize(("clean", "verdict"), [(SURVIVED, DETECTED), (UNCLEAR, UNCLEAR)])
def test_a_clean_kernel_boots_on_the_machine_of_a_mutant_that_does_not(made, clean, verdict):
    """One comes before the first mutant there; when it says nothing, another one has to boot."""
    mutants, kernel, record = made
    wanted = [mutants[0], replace(mutants[0], id="D-1", machine="sr-iov")]

    class There(Bench):
        def tried(self, name, modules, order, out, unsound=(), enough=None) -> Verdict:
            said = super().tried(name, modules, order, out, unsound, enough)
            there = self.machine == "sr-iov" and name == CLEAN
            return replace(said, verdict=clean) if there else said

    bench = There({"D-1": Verdict("D-1", DETECTED, test="boot of guest 1", tests=1)})
    found = list(judging.verdicts(bench, wanted, kernel, record))[3]
    assert found.verdict == verdict
    again = "D-1" if verdict == DETECTED else CLEAN
    assert [name for name, _ in bench.asked] == [CLEAN, "A-1", CLEAN, "D-1", again]
    assert bench.machines[2:] == ["sr-iov"] * 3


def test_each_machine_of_a_mutant_gets_a_clean_kernel_before_the_first_of_them(made):
    mutants, kernel, record = made
    machines = ["", "vga", "", "vga", "sr-iov"]
    wanted = [
        replace(mutants[0], id=f"D-{number}", machine=name) for number, name in enumerate(machines)
    ]
    bench = Bench({})
    list(judging.verdicts(bench, wanted, kernel, record))
    asked = [name for name, _ in bench.asked]
    assert asked == [CLEAN, "D-0", CLEAN, "D-1", "D-2", "D-3", CLEAN, "D-4"]
    assert [bench.machines[n] for n, name in enumerate(asked) if name == CLEAN] == [
        "",
        "vga",
        "sr-iov",
    ]


def test_a_test_is_asked_once_whether_it_passes_on_a_clean_kernel(made, monkeypatch):
    """Until its file changes, or code that it shares with others."""
    mutants, kernel, record = made
    monkeypatch.setattr(seen, "PROJECT", record.directory)
    detected = Verdict("A-1", DETECTED, test="t.py::test[edu]", seconds=7.0)

    def clean_kernels_asked(title: str) -> int:
        text = mutants[0].path.read_text()
        mutants[0].path.write_text(text + f"// {title}\n")
        bench = Bench({"A-1": detected})
        list(judging.verdicts(bench, mutants[:1], kernel, record))
        return [name for name, _ in bench.asked].count(CLEAN)

    # The first of them is the one that comes before the first mutant.
    assert [clean_kernels_asked(title) for title in ("a", "b")] == [2, 0]
    (record.directory / "t.py").write_text("def test(): ...")
    assert [clean_kernels_asked(title) for title in ("c", "d")] == [1, 0]
    (record.directory / "vfio_hw").mkdir()
    (record.directory / "vfio_hw" / "verdict.py").write_text("")
    assert [clean_kernels_asked(title) for title in ("e", "f")] == [1, 0]


def test_what_has_its_verdict_is_not_tried_again_unless_the_mutant_has_changed(made):
    mutants, kernel, record = made
    detected = Verdict("A-1", DETECTED, test="t.py::test[edu]")
    list(judging.verdicts(Bench({"A-1": detected}), mutants, kernel, record))
    again = Bench({})
    list(judging.verdicts(again, mutants, kernel, record))
    assert again.asked == []
    mutants[0].path.write_text(mutants[0].path.read_text() + "// other\n")
    verdicts = list(judging.verdicts(again, mutants, kernel, record))
    assert [name for name, _ in again.asked] == ["A-1"]
    assert verdicts[1].verdict == SURVIVED


def test_an_interrupted_run_keeps_what_it_has(made):
    mutants, kernel, record = made
    with pytest.raises(KeyboardInterrupt):
        list(judging.verdicts(Bench({"A-1": KeyboardInterrupt()}), mutants, kernel, record))
    assert [v.id for v in record.read()] == [CLEAN]


def test_the_test_that_saw_a_mutant_is_tried_first_the_next_time(made):
    mutants, kernel, record = made
    detected = Verdict("A-1", DETECTED, test="t.py::test[edu]")
    list(judging.verdicts(Bench({"A-1": detected}), mutants, kernel, record))
    assert seen.tests_of("A-1") == ("t.py::test[edu]",)


def test_a_mutant_that_this_kernel_can_not_show_is_not_tried(made, tmp_path):
    mutants, kernel, record = made
    (tmp_path / "config").write_text("CONFIG_VFIO=m\n")
    kernel = replace(kernel, config=tmp_path / "config")
    bench = Bench({})
    wanted = [replace(mutants[0], needs=name) for name in ("CONFIG_KASAN", "CONFIG_VFIO")]
    found = [v.verdict for v in judging.verdicts(bench, wanted, kernel, record)]
    assert found == [SURVIVED, UNFIT, SURVIVED]
    assert [name for name, _ in bench.asked] == [CLEAN, "A-1"]


def test_a_mutant_is_tried_on_its_machine_and_so_is_the_clean_kernel_for_it(made):
    mutants, kernel, record = made
    bench = Bench({"A-1": Verdict("A-1", DETECTED, test="t.py::test[edu]")})
    wanted = [replace(mutants[0], machine="noiommu")]
    found = [v.verdict for v in judging.verdicts(bench, wanted, kernel, record)]
    assert found == [SURVIVED, DETECTED]
    assert {name for name, _ in bench.asked} == {CLEAN, "A-1"}
    assert set(bench.machines) == {"noiommu"}
