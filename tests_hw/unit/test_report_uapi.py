"""This file checks the page of what is judged: who counts, what is said, what is an error."""

import pytest

from vfio_hw import cli
from vfio_hw.errors import HarnessError
from vfio_hw.report import uapi, unjudged
from vfio_hw.report.events import EventLog, Result
from vfio_hw.uapi.items import Section

ITEMS = [Section("Requests", ("A", "B", "C")), Section("Both", ("A x", "A y"), combined=True)]
NAMES = {"A", "B", "C", "A x", "A y"}


def judged(verdict="passed", kinds=("mtty",), **outcomes) -> Result:
    return Result("t", verdict, 0.1, judged={"kinds": list(kinds), **outcomes})


@pytest.fixture
def record(tmp_path):
    """Makes a results directory of these results."""

    def make(*results: Result, name: str = "run"):
        directory = tmp_path / name
        directory.mkdir()
        log = EventLog(directory / "events.jsonl")
        log.write({"event": "run"})
        for result in results:
            log.write(result.as_event())
        return directory

    return make


def row(page: list[str], name: str) -> list[str]:
    (line,) = [line for line in page if line.startswith(f"| `{name}` ")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_tests_that_did_not_pass_judge_nothing(record):
    bad = [judged(verdict, positive=["A"]) for verdict in ("failed", "known", "error", "skipped")]
    assert uapi.gathered([record(*bad, judged(positive=["B"]))]) == {"B": {"mtty": "P"}}


def test_several_runs_count_together(record):
    one = record(judged(raced=["A"]), judged(positive=["B"], kinds=[]))
    other = record(judged(refused=["A"], positive=["A"]), name="other")
    assert uapi.gathered([one, other]) == {
        "A": {"mtty": "PRC"},
        "B": {"none": "P"},
    }


def test_a_test_of_several_kinds_says_of_none_of_them_what_it_can(record):
    """A migration that mtty can and edu can not must not stand under edu."""
    run = record(judged(positive=["A"], kinds=["mtty", "edu"]))
    assert uapi.gathered([run]) == {"A": {"several": "P"}}


def test_a_run_that_tells_nothing_is_an_error(record, tmp_path):
    nothing = record(Result("t", "passed", 0.1))
    with pytest.raises(HarnessError, match="tells of no test that judged"):
        uapi.gathered([nothing])
    assert set(uapi.gathered([nothing, record(judged(positive=["A"]), name="other")])) == {"A"}
    with pytest.raises(HarnessError, match="is not there: name a directory"):
        uapi.gathered([tmp_path / "nowhere"])


def test_the_page_has_every_item_on_every_device():
    page = list(uapi.lines(ITEMS, {"A": {"edu": "PR"}, "A x": {"none": "C"}}, {}))
    assert row(page, "A") == ["", "", "", "PR", "", "", "", ""]
    assert row(page, "A x") == ["", "", "", "", "", "", "", "C"]
    assert row(page, "C") == [""] * 8
    assert "| Requests | 3 | 1 | 1 | 1 | 0 |" in page
    assert "| Both | 2 | 1 | 0 | 0 | 1 |" in page


def test_the_page_says_what_is_not_judged_and_why():
    page = list(uapi.lines(ITEMS, {"A": {"edu": "P"}}, {"B": "no such device"}))
    line = (
        "3 items of the headers: 1 judged, 1 that can not be judged here, 1 that nobody judges yet."
    )
    assert line in page
    assert "* no such device: `B`" in page
    assert "* Requests: `C`" in page
    assert "* Both: `A x`, `A y`" in page


def write(path, *entries: tuple[str, str], table="unjudged"):
    text = (f'[[{table}]]\nwhy = "{why}"\nitems = ["{item}"]\n' for item, why in entries)
    path.write_text("".join(text))
    return path


def test_a_reason_goes_with_its_item(tmp_path):
    path = write(tmp_path / "x.toml", ("B", "no such device"))
    assert unjudged.reasons(path, NAMES, {"A"}) == {"B": "no such device"}


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([("A", "never")], "A is judged after all: take it out"),
        ([("D", "never")], "D is no item of the headers: take it out"),
        ([("B", "never"), ("B", "not now")], "B is there twice: take it out"),
    ],
)
def test_a_reason_that_is_none_is_an_error(tmp_path, entries, error):
    with pytest.raises(HarnessError, match=error):
        unjudged.reasons(write(tmp_path / "x.toml", *entries), NAMES, {"A"})


def refused(path, *entries: tuple[str, str]):
    return write(path, *entries, table="refused")


def test_what_is_refused_only_has_its_reason(tmp_path):
    path = refused(tmp_path / "x.toml", ("B", "no such device"), ("A *", "not offered"))
    reasons = unjudged.refusals(path, NAMES, {"A"})
    assert reasons == {"B": "no such device", "A x": "not offered", "A y": "not offered"}
    judged = {"A": {"edu": "PR"}, "B": {"edu": "R"}, "C": {"mtty": "R"}, "A x": {"none": "R"}}
    page = list(uapi.lines(ITEMS, judged, {}, reasons))
    at = page.index("## What is judged by its refusal only")
    assert page[at + 2 : at + 5] == [
        "* no such device: `B`",
        "* for no reason that is known: `C`",
        "* not offered: `A x`",
    ]


@pytest.mark.parametrize(
    ("entries", "error"),
    [
        ([("A", "never")], "A is judged positive after all: take it out"),
        ([("D *", "never")], "D \\* is no item of the headers: take it out"),
        ([("B", "never"), ("B", "not now")], "B is there twice: take it out"),
    ],
)
def test_a_reason_for_a_refusal_that_is_none_is_an_error(tmp_path, entries, error):
    with pytest.raises(HarnessError, match=error):
        unjudged.refusals(refused(tmp_path / "x.toml", *entries), NAMES, {"A"})


@pytest.mark.parametrize("text", ["", "not toml", "[[unjudged]]\nitems = ['B']", "unjudged = 1"])
def test_a_file_of_another_kind_is_an_error(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(HarnessError, match="no list of what nobody judges"):
        unjudged.reasons(path, NAMES, set())


def test_our_own_reasons_are_of_items_of_the_headers(record, capsys):
    """The command reads them; a page that was printed is the page that is checked."""
    run = record(judged(positive=["VFIO_DEVICE_RESET"]))
    assert cli.main(["uapi", str(run)]) == 0
    page = run / "uapi.md"
    page.write_text(capsys.readouterr().out)
    assert cli.main(["uapi", "--check", str(page), str(run)]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_page_that_is_not_what_the_run_shows_is_told_by_its_lines(record, capsys):
    run = record(judged(positive=["VFIO_DEVICE_RESET"]))
    cli.main(["uapi", str(run)])
    page = run / "uapi.md"
    page.write_text(capsys.readouterr().out.replace("| `VFIO_DEVICE_RESET` | P ", "| `X` | P "))
    assert cli.main(["uapi", "--check", str(page), str(run)]) == 1
    out, err = capsys.readouterr()
    assert [line[:25] for line in out.splitlines()] == [
        "-| `X` | P |  |  |  |  | ",
        "+| `VFIO_DEVICE_RESET` | P"[:25],
    ]
    assert "is not what these runs show" in err
    assert err.count("\n") == 1


def test_what_a_short_race_did_not_meet_is_no_difference(record, capsys):
    """But what was not refused any more is, and what the page does not have."""
    whole = record(judged(raced=["VFIO_DEVICE_RESET"], refused=["VFIO_DEVICE_RESET"]))
    cli.main(["uapi", str(whole)])
    page = whole / "uapi.md"
    page.write_text(capsys.readouterr().out)
    short = record(judged(refused=["VFIO_DEVICE_RESET"]), name="short")
    assert cli.main(["uapi", "--check", str(page), str(short)]) == 1
    assert cli.main(["uapi", "--check", str(page), "--short-races", str(short)]) == 0
    less = record(judged(positive=["VFIO_DEVICE_RESET"]), name="less")
    assert cli.main(["uapi", "--check", str(page), "--short-races", str(less)]) == 1
