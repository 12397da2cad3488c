"""This file checks what is read out of kmemleak's report, and what becomes of it."""

from pathlib import Path

import pytest

from vfio_hw.oracle.finding import Finding
from vfio_hw.oracle.kmemleak import Kmemleak
from vfio_hw.verdict import memory_results

NOW = 4294902000
OBJECT = """unreferenced object 0xff1100000bb70840 (size 32):
  comm "python", pid 46, jiffies {made}
  hex dump (first 32 bytes):
    00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  ................
  backtrace (crc 0):
{frames}
"""


class Kernel:
    """A debugfs file of kmemleak that obeys, and reports the same until it is cleared."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.commands = root, list[str]()
        self.report = ""
        self.transient = False
        self.refuses = False
        for path, text in (
            ("sys/kernel/debug/kmemleak", ""),
            ("proc/timer_list", ""),
            ("proc/sys/kernel/printk", "7\t4\t1\t7\n"),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        self.file = root / "sys/kernel/debug/kmemleak"
        self.now(NOW)
        monkeypatch.setattr(Kmemleak, "_asked", lambda oracle, command: self.asked(command))

    def now(self, jiffies: int) -> None:
        text = f"cpu: 0\n  .last_jiffies   : 1\njiffies: {jiffies}\n"
        (self.root / "proc/timer_list").write_text(text)

    def asked(self, command: str) -> bool:
        self.commands.append(command)
        scans = self.commands.count("scan")
        if command == "clear":
            self.report = ""
        seen = scans >= 2 and not (self.transient and scans > 2)
        self.file.write_text(self.report if seen else "")
        return not self.refuses


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


def lost(*frames: str, made: int = NOW + 1) -> str:
    return OBJECT.format(made=made, frames="\n".join(f"    {frame}" for frame in frames))


def found(kernel: Kernel, report: str) -> list[Finding]:
    oracle = Kmemleak(kernel.root, age=0.0)
    kernel.report = report
    return oracle.found("tests").get("tests", [])


INIT = ("kmemleak_alloc+0x24/0x30", "__kmalloc_cache_noprof+0x30e/0x540")


@pytest.mark.parametrize(
    ("frames", "title"),
    [
        ((*INIT, "mdpy_init_dev+0x59/0x6f0 [mdpy]", "mdev_probe+0x1/0x2"), "mdpy_init_dev"),
        (("[<00000000b1c2d3e4>] kstrdup+0x1/0x2", "[<00000000b1c2d3e5>] sample+0x1/0x2"), "sample"),
        (("sample_init.isra.0+0x1/0x2",), "sample_init"),
        ((*INIT, "0xffffffffa0000059", "load+0x1/0x2"), "discarded code under load"),
        (INIT, "kmemleak_alloc"),
        ((), "unknown code"),
    ],
)
def test_the_title_names_who_lost_it(kernel: Kernel, frames: tuple[str, ...], title: str) -> None:
    (finding,) = found(kernel, lost(*frames))
    assert (finding.oracle, finding.title) == ("kmemleak", f"unreferenced object in {title}")


def test_objects_of_one_function_are_one_finding_with_all_backtraces(kernel: Kernel) -> None:
    one, other = lost(*INIT, "first+0x1/0x2"), lost(*INIT, "second+0x1/0x2")
    first, second = found(kernel, one + other + one)
    assert first.text == f"objects: 2\n{one.rstrip()}\n{one.rstrip()}"
    assert second.text == f"objects: 1\n{other.rstrip()}"


def test_nothing_lost_is_no_finding_and_takes_two_scans(kernel: Kernel) -> None:
    assert found(kernel, "") == []
    assert kernel.commands == ["scan=off", "scan", "scan", "clear"]


def test_what_was_made_before_the_tests_is_not_theirs(kernel: Kernel) -> None:
    assert found(kernel, lost("sample+0x1/0x2", made=NOW - 1)) == []


def test_what_the_next_scan_finds_again_was_only_on_its_way(kernel: Kernel) -> None:
    kernel.transient = True
    assert found(kernel, lost("sample+0x1/0x2")) == []


def test_the_same_objects_are_told_once(kernel: Kernel) -> None:
    oracle = Kmemleak(kernel.root, age=0.0)
    kernel.report = lost("sample+0x1/0x2")
    assert len(oracle.found("first")["first"]) == 1
    assert oracle.found("second") == {}


def test_one_scan_will_do_while_others_follow_and_who_made_what_is_known(kernel: Kernel) -> None:
    oracle = Kmemleak(kernel.root, age=0.0)
    kernel.now(NOW + 1000)
    assert oracle.found("first", last=False) == {}
    assert kernel.commands == ["scan=off", "scan", "clear"]
    kernel.now(NOW + 2000)
    assert oracle.found("second", last=False) == {}
    kernel.now(NOW + 3000)
    kernel.report = lost("one+0x1/0x2", made=NOW + 1) + lost("two+0x1/0x2", made=NOW + 2500)
    found = oracle.found("third")
    assert {whose: [f.title for f in each] for whose, each in found.items()} == {
        "first": ["unreferenced object in one"],
        "third": ["unreferenced object in two"],
    }


def test_the_console_is_as_loud_as_before(kernel: Kernel) -> None:
    found(kernel, "")
    assert (kernel.root / "proc/sys/kernel/printk").read_text() == "7"


def test_a_kernel_without_it_has_nothing_to_find(tmp_path: Path) -> None:
    oracle = Kmemleak(tmp_path)
    assert not oracle.works
    assert oracle.found("tests") == {}


def test_one_that_is_off_from_the_start_has_nothing_to_find(kernel: Kernel) -> None:
    kernel.refuses = True
    assert found(kernel, lost("sample+0x1/0x2")) == []


def test_one_that_switches_itself_off_is_an_error(kernel: Kernel) -> None:
    oracle = Kmemleak(kernel.root, age=0.0)
    kernel.refuses = True
    (result,) = memory_results("tests_hw/x.py", lambda: oracle.found("tests_hw/x.py"))
    assert (result.test, result.verdict) == ("tests_hw/x.py, memory", "error")
    assert "switched itself off" in result.text
    again = memory_results("tests_hw/y.py", lambda: oracle.found("tests_hw/y.py"))
    assert list(again) == [], "it is told once"


def test_lost_memory_fails_its_file(kernel: Kernel) -> None:
    oracle = Kmemleak(kernel.root, age=0.0)
    kernel.report = lost("sample+0x1/0x2")
    (result,) = memory_results("tests_hw/y.py", lambda: oracle.found("tests_hw/x.py"))
    assert (result.test, result.verdict) == ("tests_hw/x.py, memory", "failed")
    assert result.oracle == "kmemleak"
    assert result.findings == ["kmemleak: unreferenced object in sample"]


@pytest.mark.parametrize(
    ("thread", "left"), [("kmemleak", ["scan=off", "scan=on"]), ("sh", ["scan=off"])]
)
def test_it_scans_by_itself_again_afterwards_only_where_it_did(kernel: Kernel, thread, left):
    (kernel.root / "proc/77").mkdir()
    (kernel.root / "proc/77/comm").write_text(f"{thread}\n")
    Kmemleak(kernel.root).close()
    assert kernel.commands == left
