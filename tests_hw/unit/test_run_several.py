"""This file checks runs that go on with others, and runs on several kernels."""

import pytest

from tests_hw.unit.test_kernels_tree import write_image, write_modules
from vfio_hw import cli, onekernel, run, several
from vfio_hw.errors import HarnessError
from vfio_hw.onekernel import Judged
from vfio_hw.report.events import EventLog, Result


@pytest.fixture
def played(monkeypatch):
    """Plays what becomes of each kernel; the list has what they were asked for."""
    asked = []

    def outcome(of: dict[str, Judged | Exception]) -> None:
        def on_kernel(args, out, log):
            asked.append(args)
            made = of[args.kernel]
            if isinstance(made, Exception):
                raise made
            return made

        monkeypatch.setattr(several, "on_kernel", on_kernel)
        monkeypatch.setattr(run, "on_kernel", on_kernel)

    outcome({"latest": Judged(onekernel.OK)})
    return asked, outcome


def test_a_run_goes_on_with_what_it_was_asked_for(played, tmp_path):
    asked, _ = played
    words = ["--quick", "--race-budget", "2", "--cpus", "3", "--seed", "7", "tests_hw/irq"]
    out = str(tmp_path / "out")
    assert cli.main(["run", *words, "--results", out, "--", "-k", "info"]) == run.OK
    assert cli.main(["run", "--resume", out]) == run.OK
    first, second = ({**vars(args)} for args in asked)
    for name in ("quick", "race_budget", "cpus", "seed", "selection", "rest", "kernel", "modules"):
        assert first[name] == second[name]
    assert second["seed"] == 7
    assert second["rest"] == ["-k", "info"]


def test_a_run_that_goes_on_takes_no_other_wishes(played, tmp_path, capsys):
    words = ["run", "--resume", str(tmp_path), "--quick", "--", "-x"]
    assert cli.main(words) == run.USAGE
    assert "leave out --quick -x" in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "", '{"event": "run"}\n', "rubbish\n", "[1]\n"])
def test_a_directory_without_a_run_can_not_be_gone_on_with(played, tmp_path, capsys, text):
    if text is not None:
        (tmp_path / "events.jsonl").write_text(text)
    assert cli.main(["run", "--resume", str(tmp_path)]) == run.HARNESS_WRONG
    assert "holds no run to go on with" in capsys.readouterr().err


def test_each_kernel_has_its_directory_and_the_worst_counts(played, tmp_path, capsys):
    asked, outcome = played
    passed = Judged(run.OK, "7.3.4", [Result("t", "passed", 0.1)])
    failed = Judged(run.KERNEL_WRONG, "6.1.1", [Result("t", "failed", 0.1)])
    outcome({"latest": passed, "6.12": HarnessError("no mirror"), "6.1": failed})
    words = [word for kernel in ("latest", "6.12", "6.1") for word in ("--kernel", kernel)]
    status = cli.main(["run", *words, "--results", str(tmp_path / "out")])
    assert status == run.KERNEL_WRONG
    assert [args.kernel for args in asked] == ["latest", "6.12", "6.1"]
    assert len({args.seed for args in asked}) == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "6.1",
        "6.12",
        "events.jsonl",
        "latest",
    ]
    said = capsys.readouterr()
    rows = [line.split() for line in said.out.splitlines()]
    assert ["latest", "7.3.4", "1", "0", "0", "0", "0", "0"] in rows
    assert ["6.12", "0", "0", "0", "0", "0", "3", "no", "mirror"] in rows
    assert ["6.1", "6.1.1", "0", "1", "0", "0", "0", "1"] in rows
    assert "no mirror" in said.err


def test_a_run_on_several_kernels_goes_on_with_all_of_them(played, tmp_path):
    asked, outcome = played
    outcome({"latest": Judged(run.INTERRUPTED), "6.1": Judged(run.OK)})
    words = ["run", "--kernel", "latest", "--kernel", "6.1", "--results", str(tmp_path / "out")]
    assert cli.main(words) == run.INTERRUPTED
    outcome({"latest": Judged(run.OK), "6.1": Judged(run.OK)})
    assert cli.main(["run", "--resume", str(tmp_path / "out")]) == run.OK
    assert [args.kernel for args in asked] == ["latest", "latest", "6.1"]
    assert EventLog(tmp_path / "out" / "latest" / "events.jsonl").results() == []


def test_no_two_kernels_share_a_directory():
    names = ["latest", "/a/linux", "/b/linux", "/b/linux~2", "latest", "/"]
    made = several.directories(names)
    assert made == ["latest", "linux", "linux~2", "linux_2", "latest~2", "kernel"]


@pytest.mark.parametrize(
    ("statuses", "worst"), [([0, 3, 1], 1), ([0, 3], 3), ([1, 130], 130), ([0, 0], 0)]
)
def test_the_worst_status_is_the_one_of_all(statuses, worst):
    assert several.worst(statuses) == worst


@pytest.fixture
def images(tmp_path):
    """Makes an image of a release with its modules; returns both paths."""

    def make(name, release):
        write_image(tmp_path / name / "bzImage", release)
        write_modules(tmp_path / name / "lib" / "modules" / release)
        return str(tmp_path / name / "bzImage"), tmp_path / name

    return make


def test_modules_go_to_the_image_of_their_release_and_to_no_named_kernel(played, images, tmp_path):
    asked, outcome = played
    (old, old_modules), (new, new_modules) = images("old", "6.1.1"), images("new", "7.3.4")
    outcome(dict.fromkeys((old, new, "latest", str(tmp_path)), Judged(run.OK)))
    words = ["--kernel", old, "--kernel", "latest", "--kernel", str(tmp_path), "--kernel", new]
    words += ["--modules", str(new_modules), "--modules", str(old_modules)]
    assert cli.main(["run", *words, "--results", str(tmp_path / "out")]) == run.OK
    chosen = [(args.kernel, args.modules) for args in asked]
    assert chosen == [
        (old, old_modules),
        ("latest", None),
        (str(tmp_path), None),
        (new, new_modules),
    ]
    assert cli.main(["run", "--resume", str(tmp_path / "out")]) == run.OK
    assert [(args.kernel, args.modules) for args in asked[4:]] == chosen


@pytest.mark.parametrize("others", [["6.1.1"], ["7.3.4", "7.3.4"]])
def test_modules_of_no_release_that_fits_or_of_two_are_told(
    played, images, tmp_path, capsys, others
):
    asked, outcome = played
    image, _ = images("one", "7.3.4")
    outcome({"latest": Judged(run.OK)})
    words = ["--kernel", image, "--kernel", "latest"]
    for number, release in enumerate(others):
        words += ["--modules", str(images(f"other-{number}", release)[1])]
    status = cli.main(["run", *words, "--results", str(tmp_path / "out")])
    assert status == run.HARNESS_WRONG
    assert "is of release 7.3.4" in capsys.readouterr().err
    assert [args.kernel for args in asked] == ["latest"]


def test_the_modules_of_a_single_image_are_taken_as_they_are(played, images, tmp_path):
    asked, outcome = played
    image, modules = images("one", "7.3.4")
    outcome({image: Judged(run.OK)})
    words = ["--kernel", image, "--modules", str(modules), "--results", str(tmp_path / "out")]
    assert cli.main(["run", *words]) == run.OK
    assert cli.main(["run", "--resume", str(tmp_path / "out")]) == run.OK
    assert [args.modules for args in asked] == [modules, modules]
