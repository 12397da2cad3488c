"""This file checks the page of mutants and the tests that see them: who counts, what is said."""

import ast
import re
from dataclasses import replace

import pytest

from tests_hw.unit.conftest import PATCH
from vfio_hw import cli
from vfio_hw.errors import HarnessError
from vfio_hw.mutate import corpus, table
from vfio_hw.mutate.mutant import version
from vfio_hw.mutate.record import CLEAN, DETECTED, SURVIVED, Asked, Record, Verdict
from vfio_hw.order import function_of
from vfio_hw.report.events import EventLog, Result
from vfio_hw.run import HARNESS_WRONG, OK
from vfio_hw.session import PROJECT

PAGE = PROJECT / "docs" / "mutants.md"
SEEN = Verdict("A-1", DETECTED, kernel="7.3.4", test="t.py::test_a[edu]", oracle="leaks")


@pytest.fixture
def made(tmp_path):
    """A corpus of two mutants, and a record."""
    for name in ("A-1", "B-1"):
        (tmp_path / f"{name}.cocci").write_text(PATCH.format(id=name, more=""))
    results = tmp_path / "results"
    results.mkdir()
    record = Record(results)
    record.begin(Asked({}, str(tmp_path), [], 60.0, 7, []))
    return corpus.read(tmp_path)[0], record


def clean_trial(
    record: Record, results: dict[str, str], promises: dict[str, list[str]], name: str = "clean-0"
) -> None:
    record.write(Verdict(CLEAN, SURVIVED, key="0", kernel="7.3.4"))
    (record.directory / name).mkdir()
    log = EventLog(record.directory / name / "events.jsonl")
    log.write({"event": "session", "promises": promises})
    for test, verdict in results.items():
        log.write(Result(f"{test}[edu]", verdict, 1.0).as_event())


def section(page: list[str], title: str) -> list[str]:
    (begin,) = [n for n, line in enumerate(page) if line.startswith(f"## {title}")]
    rest = [line for line in page[begin + 1 :] if line]
    end = next((n for n, line in enumerate(rest) if line.startswith("## ")), len(rest))
    return rest[:end]


def test_the_table_names_who_saw_what_who_was_not_seen_and_who_saw_nothing(made):
    mutants, record = made
    promises = {"t.py::test_a": ["P2"], "t.py::test_b": ["P3"]}
    clean_trial(record, dict.fromkeys(promises, "passed"), promises)
    record.write(replace(SEEN, version=version(mutants[0]), again="alone"))
    survived = Verdict("B-1", SURVIVED, kernel="7.3.4", tests=9, passed=7)
    record.write(replace(survived, version=version(mutants[1])))
    page = table.lines(mutants, table.gathered([record.directory], mutants))
    assert "1 of 2 mutants seen, 0 not tried yet." in page
    assert "On 7.3.4: 1 of 2 that were tried." in page
    assert "| P2 | 2 | 1 | 1 |" in page
    assert "| P3 | none | 0 | 0 |" in page
    assert any(
        line.startswith("| A-1 | made for this test | t.py::test_a | leaks") for line in page
    )
    (row,) = section(page, "Not seen")[2:]
    assert row.startswith("| B-1 | P2 |") and row.endswith("7 of 9 tests passed |")
    assert section(page, "Tests that were never the first") == ["* t.py::test_b (P3)"]
    assert not any("not repeated" in line for line in page)
    with pytest.raises(HarnessError, match="holds no record"):
        table.gathered([record.directory / "clean-0"], mutants)


def test_a_test_that_was_to_run_on_a_clean_kernel_and_did_not_pass_is_named_apart(made):
    """It has not looked at a mutant in vain: it was not reached, or skipped."""
    mutants, record = made
    promises = {f"t.py::test_{name}": ["P4"] for name in "abcd"}
    clean_trial(record, {"t.py::test_a": "passed", "t.py::test_c": "skipped"}, promises)
    record.write(replace(SEEN, test="t.py::test_d[edu]", version=version(mutants[0])))
    page = table.lines(mutants, table.gathered([record.directory], mutants))
    assert section(page, "Tests that were never the first") == ["* t.py::test_a (P4)"]
    missed = ["* t.py::test_b (P4)", "* t.py::test_c (P4)"]
    assert section(page, "Tests that have not passed") == missed


def test_a_test_that_failed_on_a_clean_kernel_has_seen_nothing(made):
    """Whether before the mutant or after it."""
    mutants, record = made
    for each in mutants:
        name = f"t.py::test_{each.id[0].lower()}"
        record.write(replace(SEEN, id=each.id, test=f"{name}[edu]", version=version(each)))
    promises = {"t.py::test_a": ["P2"], "t.py::test_b": ["P2"]}
    clean_trial(record, {"t.py::test_a": "failed", "t.py::test_b": "passed"}, promises)
    page = table.lines(mutants, table.gathered([record.directory], mutants))
    assert "1 of 2 mutants seen, 0 not tried yet." in page
    (row,) = section(page, "Not seen")[2:]
    assert row.startswith("| A-1 |") and row.endswith("| its test failed on a clean kernel |")


@pytest.mark.parametrize("suffix", ["", "-again-1"])
def test_what_failed_on_a_clean_kernel_of_another_machine_has_seen_its_mutant(made, suffix):
    (mutant, *_), record = made
    record.write(replace(SEEN, version=version(mutant)))
    clean_trial(record, {"t.py::test_a": "failed"}, {}, f"clean-0@vga{suffix}")
    elsewhere = replace(mutant, machine="vga")
    for each, seen in ((mutant, True), (elsewhere, False)):
        assert bool(table.gathered([record.directory], [each]).seen(mutant.id)) == seen


def test_a_verdict_on_another_version_of_a_mutant_is_left_out_and_told(made, tmp_path, capsys):
    mutants, record = made
    record.write(replace(SEEN, version=version(mutants[0])))
    words = ["mutants", "--corpus", str(tmp_path), str(record.directory)]
    assert cli.main(words) == OK
    page, said = capsys.readouterr()
    assert "1 of 2 mutants seen, 1 not tried yet." in page
    assert "Of the failures below 1 were not repeated on the mutant." in page
    assert not said
    mutants[0].path.write_text(mutants[0].path.read_text() + "// other\n")
    assert cli.main(words) == OK
    page, said = capsys.readouterr()
    assert "0 of 2 mutants seen, 2 not tried yet." in page
    assert [line.split()[1] for line in section(page.splitlines(), "Not tried yet")[2:]] == [
        "A-1",
        "B-1",
    ]
    assert said == "vfio-hw: of A-1 verdicts on other versions are left out\n"


def test_a_bad_file_costs_the_page_only_its_own_mutant(made, tmp_path, capsys):
    mutants, record = made
    record.write(replace(SEEN, version=version(mutants[0])))
    (tmp_path / "D-1.cocci").write_text("// id: D-1\n")
    words = ["mutants", "--corpus", str(tmp_path), str(record.directory)]
    assert cli.main(words) == HARNESS_WRONG
    page, said = capsys.readouterr()
    assert "1 of 2 mutants seen" in page
    assert "D-1.cocci: the header lacks" in said
    (tmp_path / "D-1.cocci").unlink()
    assert cli.main(words) == OK


def test_every_mutant_is_on_the_page_and_no_other():
    """Seen, not seen, not tried yet or equivalent, and not two of these."""
    text = PAGE.read_text()
    named = re.findall(r"^(?:\| |\* )([A-Z0-9]+-[0-9]+)(?= \||,)", text, re.MULTILINE)
    mutants = corpus.read(corpus.CORPUS)[0]
    assert set(named) == {each.id for each in mutants}
    page = text.splitlines()
    rows = [section(page, "Not seen")[2:], section(page, "Not tried yet")[2:]]
    unseen = [line.split()[1] for part in rows for line in part]
    seen = set(named[: len(named) - len(unseen) - sum(bool(m.equivalent) for m in mutants)])
    assert len(set(unseen)) == len(unseen)
    assert seen.isdisjoint(unseen)
    counted = sum(not each.equivalent for each in mutants)
    assert f"{len(seen)} of {counted} mutants seen, {len(rows[1])} not tried yet." in page


def test_every_test_on_the_page_exists():
    tests = {
        f"{path.relative_to(PROJECT / 'tests_hw')}::{node.name}"
        for path in (PROJECT / "tests_hw").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    named = {
        function_of(name).removeprefix("tests_hw/")
        for name in re.findall(r"[\w/]+\.py::test_\w+", PAGE.read_text())
    }
    assert named
    assert named <= tests, sorted(named - tests)
