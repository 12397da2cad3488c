"""`vfio-hw race` and `run --races`: what they select, and what they say of what can not be."""

import argparse
import subprocess

import pytest

from vfio_hw import guest, races, run, several
from vfio_hw.cli import main
from vfio_hw.onekernel import Judged
from vfio_hw.race.catalogue.choice import chosen, matrix_on
from vfio_hw.race.ledger import read
from vfio_hw.report import terminal
from vfio_hw.report.events import Result

PAIR = "VFIO_GROUP_GET_DEVICE_FD-against-mdev_remove-mtty"


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list[argparse.Namespace]:
    """What runs were asked for, which boot nothing here."""
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path))
    seen: list[argparse.Namespace] = []

    def boots_nothing(args, out, log):
        seen.append(args)
        return Judged(run.OK)

    for module in (run, several):
        monkeypatch.setattr(module, "on_kernel", boots_nothing)
    return seen


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("race", "name an OPERATION and a DISRUPTION"),
        ("race nonsense mdev_remove", "no operation nonsense"),
        ("race open_group nonsense", "no disruption nonsense"),
        ("race VFIO_DEVICE_RESET sysfs_reset --device edu", "edu can not do VFIO_DEVICE_RESET"),
        ("race open_group mdev_remove --device toaster", "toaster can not do open_group"),
        ("race IOMMU_IOAS_MAP unmap_all", "no scene suits them all"),
        ("race open_group mdev_remove --budget 0", "give a time above 0"),
        ("run --budget 3m", "--budget is of --races"),
        ("run --races --budget 1s", "too small for one pair"),
        ("run --races tests_hw/irq", "--races chooses the tests itself"),
        ("run --races --budget nonsense", "give a time above 0"),
        ("run --here --races", "--here takes the pairs that pytest is given with -- --pairs=N"),
    ],
)
def test_what_can_not_be_is_wrong_usage_and_a_sentence(words, said, asked, capsys):
    try:
        status = main(words.split())
    except SystemExit as ended:
        status = ended.code
    assert status == run.USAGE
    assert said in capsys.readouterr().err
    assert not asked


def test_race_selects_one_pair_for_its_budget(asked, tmp_path):
    results = str(tmp_path / "results")
    words = ["race", "VFIO_GROUP_GET_DEVICE_FD", "mdev_remove", "--budget", "1m"]
    assert main([*words, "--results", results, "--seed", "7"]) == run.OK
    (args,) = asked
    assert args.selection == [races.MATRIX]
    assert args.rest == [f"--pairs={PAIR}=60"]
    assert (args.seed, args.race_budget, args.kernel) == (7, 60.0, "latest")


def test_race_takes_a_second_user_and_the_device_that_is_named(asked, tmp_path):
    words = ["race", "close_device", "mdev_remove", "--second", "open_cdev", "--device", "mdpy"]
    assert main([*words, "--results", str(tmp_path / "results")]) == run.OK
    (option,) = asked[0].rest
    assert "close_device-and-open_cdev-against-mdev_remove-mdpy=30" in option


def test_list_says_what_there_is_and_what_is_legal(asked, capsys):
    assert main(["race", "--list"]) == run.OK
    assert "driver_unbind" in capsys.readouterr().out
    assert main(["race", "VFIO_GROUP_GET_DEVICE_FD", "mdev_remove", "--list"]) == run.OK
    assert "ENODEV when the device is removed" in capsys.readouterr().out
    assert not asked


def planned(asked, out):
    """The arguments of the one run that was asked for, and what is in its file of pairs."""
    args = races.planned(asked.pop(), out)
    assert args.selection == [races.MATRIX]
    assert args.rest == [f"--pairs=@{out}/pairs.txt"]
    return args, chosen(args.rest[0].removeprefix("--pairs="), 1)


def test_races_spreads_its_budget(asked, tmp_path):
    words = ["run", "--races", "--budget", "1m", "--seed", "3"]
    out = tmp_path / "results"
    assert main([*words, "--results", str(out)]) == run.OK
    args, pairs = planned(asked, out)
    assert 15 < len(pairs) < 30
    assert 40 < sum(each.seconds for each in pairs) <= 60
    assert args.race_budget == max(each.seconds for each in pairs)


def test_a_long_budget_is_for_all_pairs_and_fits_into_a_command_line(asked, tmp_path):
    out = tmp_path / "results"
    assert main(["run", "--races", "--budget", "10h", "--results", str(out)]) == run.OK
    args, pairs = planned(asked, out)
    assert {each.pair.name for each in pairs} == {
        pair.name for pair in matrix_on(guest.DEFAULT_MACHINE)
    }
    assert 9 * 3600 < sum(each.seconds for each in pairs) <= 36_000
    # execve(2): MAX_ARG_STRLEN, of one word
    assert max(map(len, args.rest)) < 128 * 1024 < (out / "pairs.txt").stat().st_size
    subprocess.run(["true", *args.rest], check=True)


def test_who_goes_on_with_a_run_has_the_same_pairs(asked, tmp_path):
    out = tmp_path / "results"
    words = ["run", "--races", "--budget", "30s", "--results", str(out)]
    assert main(words) == run.OK
    _, pairs = planned(asked, out)
    races.note("latest", "7.3", [_result(pairs[0].pair.name)])
    assert main(["run", "--resume", str(out)]) == run.OK
    args, again = planned(asked, out)
    assert again == pairs
    assert args.seed is not None


def test_each_of_several_kernels_has_the_pairs_that_had_least_on_it(asked, tmp_path):
    """Of two pairs one has been at an edge on one of the kernels."""
    names = [pair.name for pair in matrix_on(guest.DEFAULT_MACHINE)]
    races.note("6.12", "6.12.1", [_result(name, near=9) for name in names[1:]])
    races.note("latest", "7.3", [_result(name, near=9) for name in names[:-1]])
    words = ["--kernel", "latest", "--kernel", "6.12", "--budget", "3s"]
    assert main(["run", "--races", *words, "--results", str(tmp_path / "results")]) == run.OK
    firsts = {}
    for args in asked:
        out = tmp_path / args.kernel
        out.mkdir()
        ((name, _),) = [(each.pair.name, each) for each in _pairs(races.planned(args, out))]
        firsts[args.kernel] = name
    assert firsts == {"latest": names[-1], "6.12": names[0]}


def _pairs(args):
    return chosen(args.rest[0].removeprefix("--pairs="), 1)


def _result(name, near=3):
    test = f"{races.MATRIX}::test_a_pair_ends_as_the_catalogue_says[{name}]"
    properties = {"seconds": 2, "rounds": 9, "met": 4, "near": near, "edges": []}
    return Result(test, "passed", 3.0, properties=properties)


def test_what_pairs_came_to_is_kept_and_told(asked, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(terminal, "say", said.append)
    edges = [{"held": True}]
    properties = {"seconds": 2, "rounds": 9, "met": 4, "near": 3, "edges": edges}
    name = f"{races.MATRIX}::test_a_pair_ends_as_the_catalogue_says"
    results = [
        Result(f"{name}[{PAIR}]", "passed", 3.0, properties=properties),
        Result(f"{name}[open_cdev-against-detach-edu]", "failed", 3.0),
        Result(f"{name}[open_cdev-against-detach-nvme]", "skipped", 0.1),
        Result("tests_hw/irq/test_info.py::test_one", "passed", 0.1),
    ]
    races.note("latest", "7.3", results)
    assert read("latest").pairs[PAIR].near == 3
    assert len(read("latest").pairs) == 3
    assert (failed := read("latest").pairs["open_cdev-against-detach-edu"]).seconds == 3.0
    assert not failed.skipped and not failed.rounds
    assert read("latest").pairs["open_cdev-against-detach-nvme"].skipped
    assert "of 1 of " in said[-1]
    races.note("latest", "7.3", results[3:])
    assert len(said) == 1
