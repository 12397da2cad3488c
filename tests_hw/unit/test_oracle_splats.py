"""This file checks that kernel text is read as crash dashboards read it, over a corpus of logs."""

from pathlib import Path

import pytest

from vfio_hw.oracle.splats import splats, without_stamp

LOGS = sorted((Path(__file__).parents[2] / "fixtures" / "logs").glob("*.log"))


def expected_and_lines(log: Path) -> tuple[list[str], list[str]]:
    lines = log.read_text().splitlines()
    titles = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    return titles, lines[len(titles) :]


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_a_log_has_exactly_the_titles_it_names(log: Path) -> None:
    titles, lines = expected_and_lines(log)
    assert [splat.title for splat in splats(lines)] == titles


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_a_console_with_carriage_returns_and_no_stamps_reads_the_same(log: Path) -> None:
    titles, lines = expected_and_lines(log)
    assert [splat.title for splat in splats(f"{without_stamp(x)}\r\n" for x in lines)] == titles


def test_the_corpus_holds_faults_and_a_log_without() -> None:
    with_titles = [bool(expected_and_lines(log)[0]) for log in LOGS]
    assert with_titles.count(True) >= 20
    assert with_titles.count(False) >= 1


def test_the_text_runs_from_cut_here_to_end_trace() -> None:
    lines = [
        "before",
        "------------[ cut here ]------------",
        "WARNING: a.c:1 at sample_first+0x1/0x10, CPU#0: sh/1",
        "---[ end trace 0000000000000000 ]---",
        "after",
    ]
    assert [splat.text for splat in splats(lines)] == ["\n".join(lines[1:4])]


def test_a_report_without_an_end_stops_where_the_next_begins() -> None:
    lines = [
        "BUG: scheduling while atomic: sh/61/0x00000002",
        "Call Trace:",
        "INFO: task sh:1 blocked for more than 120 seconds.",
    ]
    assert [splat.text for splat in splats(lines)] == ["\n".join(lines[:2]), lines[2]]


def test_an_oops_long_after_another_fault_is_a_fault_of_its_own() -> None:
    lines = ["BUG: kernel NULL pointer dereference, address: 0000000000000028"]
    lines += ["filler"] * 30
    lines += ["kernel BUG at drivers/sample/map.c:77!"]
    assert len(splats(lines)) == 2


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("[    1.500000] text", "text"),
        ("<6>[   12.345678] text", "text"),
        ("[   12.345678][  T123] text", "text"),
        ("[   12.345678][    C0]  indented", " indented"),
        ("text [1.0]", "text [1.0]"),
        ("[<ffffffffc0020333>] sample+0x1/0x2", "[<ffffffffc0020333>] sample+0x1/0x2"),
    ],
)
def test_stamps_are_taken_off_and_nothing_else(line: str, text: str) -> None:
    assert without_stamp(line) == text


def test_a_log_without_stamps_keeps_its_indentation() -> None:
    assert without_stamp("  sample_open+0x1/0x2") == "  sample_open+0x1/0x2"
