"""This file checks that ordinary users test what root has bound to VFIO, with a real udevd.

The project's rules for udev and its limits for pam_limits are installed, as they say.
"""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vfio_hw.host.binding import bound_to
from vfio_hw.report.events import EventLog
from vfio_hw.session import PROJECT
from vfio_hw.vfio.names import group_path

RULES, LIMITS = "60-vfio-hw.rules", "vfio-hw-limits.conf"
#: Of all that an ordinary user can test: each way to open a device, interrupts, DMA, refusals.
TESTS = (
    "tests_hw/irq/test_edu.py",
    "tests_hw/contract/test_argsz.py::test_infos_of_a_device_mind_their_argsz[edu]",
    "tests_hw/contract/test_group.py::test_a_group_has_one_opener_at_a_time[edu]",
)
#: And of what only root can.
OF_ROOT = "tests_hw/lifecycle/test_removal.py"
RESTRICT = Path("/proc/sys/kernel/dmesg_restrict")
_DEADLINE = 300.0


def done(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, timeout=60)


@pytest.fixture(scope="module", autouse=True)
def users():
    """A member of the group vfio, and somebody else; both can read the project."""
    for path in (PROJECT, Path(sys.executable).resolve()):
        for parent in path.parents:
            parent.chmod(parent.stat().st_mode | 0o011)
    done("groupadd", "--system", "vfio")
    done("useradd", "--create-home", "--shell=/bin/sh", "--groups=vfio", "member")
    done("useradd", "--create-home", "--shell=/bin/sh", "other")


@pytest.fixture(scope="module", autouse=True)
def udevd(users, udev):
    """udev runs, with the project's rules, and whoever logs in has its limits."""
    rules, limits = Path("/etc/udev/rules.d"), Path("/etc/security/limits.d")
    for directory, name in ((rules, RULES), (limits, LIMITS)):
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / "scripts" / name, directory)
    # In its package the daemon is an absolute link to the program, which goes by its name.
    daemon = ["systemd-udevd", "--daemon"]
    subprocess.run(daemon, executable=udev / "bin/udevadm", check=True, timeout=60)
    # As the rules say: /dev/iommu was there before them.
    done(udev / "bin/udevadm", "trigger", "--subsystem-match=misc")
    yield
    done(udev / "bin/udevadm", "control", "--exit", "--timeout=30")
    (rules / RULES).unlink()
    (limits / LIMITS).unlink()


@pytest.fixture
def bound(command, life, udev, edu):
    """The edu, which root has bound inside; after that the machine is as it was."""
    before = life.machine()
    status, said = command("bind", edu)
    assert status == 0, said
    node = group_path(edu.path)
    done(udev / "bin/udevadm", "settle", "--timeout=60")
    yield edu
    status, said = command("unbind", edu)
    assert status == 0 and "'vfio-pci' -> ''" in said, said
    assert life.machine() == before and not node.exists()


def told(user: str, words: str, *, first: str = "") -> tuple[int, str]:
    """The user logs in and runs vfio-hw; its exit status, and what it said."""
    line = f"{first} cd {PROJECT} && exec {sys.executable} -m vfio_hw {words}"
    ended = subprocess.run(
        ["su", "-", user, "-c", line],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_DEADLINE,
    )
    return ended.returncode, ended.stdout


def test_a_member_of_the_group_tests_what_root_has_bound(bound):
    status, said = told("member", "doctor --here")
    assert status == 0 and f"bound, and ours to test: {bound}" in said, said
    run = f"run --here --device {bound} --race-budget 0.5 --results ~/results"
    status, said = told("member", f"{run} {' '.join(map(repr, TESTS))} {OF_ROOT}")
    assert status == 0 and " 0 failed" in said, said
    record = Path("/home/member/results/events.jsonl")
    results = {each.test: each for each in EventLog(record).results()}
    own = [each for test, each in results.items() if not test.startswith(OF_ROOT)]
    assert len(own) > len(TESTS) and {each.verdict for each in own} == {"passed"}, said
    of_root = [each for test, each in results.items() if test.startswith(OF_ROOT)]
    assert of_root and {each.verdict for each in of_root} == {"skipped"}, said
    assert record.owner() == "member" and not list(Path("/home/member/.local").rglob("running"))


def test_who_is_no_member_is_told_which_nodes_are_not_his(bound):
    node = group_path(bound.path)
    status, said = told("other", f"run --here --device {bound} {TESTS[0]}")
    assert status == 3 and f"{node}" in said and f"let root install scripts/{RULES}" in said
    status, said = told("other", "doctor --here")
    assert status == 3 and f"let root install scripts/{RULES}" in said and "Traceback" not in said


def test_what_root_has_not_bound_no_user_tests(card):
    status, said = told("member", f"run --here --device {card} {TESTS[0]}")
    assert status == 3 and f"vfio-hw bind {card}" in said
    for words in (f"bind {card}", f"unbind {card}", "restore"):
        status, said = told("member", words)
        assert status == 3 and "needs root" in said
    assert card.driver == "e1000e"


def test_a_group_that_a_native_driver_shares_no_user_tests(command, life, shared):
    """He is told which function it is, and what root does."""
    edu, card = shared
    before = life.machine()
    assert command("bind", edu)[0] == 0
    with bound_to(card, "e1000e"):
        status, said = told("member", f"run --here --device {edu} {TESTS[0]}")
    assert status == 3 and f"native drivers have {card} (e1000e): let root" in said, said
    assert command("unbind", edu)[0] == 0 and life.machine() == before


@contextlib.contextmanager
def kernel_log_restricted():
    before = RESTRICT.read_text()
    RESTRICT.write_text("1")
    try:
        yield
    finally:
        RESTRICT.write_text(before)


def test_what_else_a_user_needs_is_told_before_the_first_test(bound):
    """His results go where he may write, and no verdict is due to a limit of his."""
    run = f"run --here --device {bound} {TESTS[0]}"
    status, said = told("member", run, first="ulimit -l 1024;")
    assert status == 3 and f"let root install scripts/{LIMITS}" in said and "may be locked" in said
    with kernel_log_restricted():
        status, said = told("member", run)
        assert status == 3 and "kernel.dmesg_restrict=0" in said
        status, said = told("member", "doctor --here")
        assert status == 3 and "kernel.dmesg_restrict=0" in said
    status, said = told("member", run)
    assert status == 3 and "results" in said and "--results" in said
    assert "Traceback" not in said
