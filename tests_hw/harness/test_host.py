"""This file boots the machine `host` and runs there the tests of what is done to a real machine."""

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from tests_hw.harness.booting import run
from vfio_hw.vm.machine import Deadlines, Ending

#: How many runs are killed by tests_hw/host/test_killed.py: 100 by hand.
KILLS = os.environ.get("VFIO_HW_KILLS", "20")
PROJECT = Path(__file__).parents[2]
# Seconds: a busy machine takes many times what an idle one does.
_BOOT = 180.0
_WHOLE = {"test_whole.py": 3600.0}
TESTS = sorted(path.name for path in (PROJECT / "tests_hw/host").glob("test_*.py"))


@pytest.fixture(scope="session")
def udev(tmp_path_factory) -> Path:
    """udev's programs, installed here or unpacked from its package: containers have none."""
    tmp_path = tmp_path_factory.mktemp("udev")
    if Path("/lib/systemd/systemd-udevd").exists():
        return Path("/")
    subprocess.run(["apt-get", "download", "udev"], cwd=tmp_path, check=True, timeout=120)
    (package,) = tmp_path.glob("udev_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, tmp_path / "udev"], check=True, timeout=120)
    return tmp_path / "udev"


@pytest.mark.parametrize("name", TESTS)
def test_on_a_machine_of_its_own(machine, udev, tmp_path, name):
    """None is skipped: the machine has everything that they need."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no"]
    said = bytearray()
    ended = run(
        machine(*argv, f"tests_hw/host/{name}", VFIO_HW_TEST_UDEV=str(udev), VFIO_HW_KILLS=KILLS),
        tmp_path / "out",
        deadlines=Deadlines(boot=_BOOT, whole=_WHOLE.get(name, 900.0 + 20.0 * int(KILLS))),
        on_output=said.extend,
    )
    text = said.decode(errors="replace")
    assert (ended.ending, ended.status) == (Ending.EXITED, 0), f"{ended.text}\n{text}"
    assert " passed" in text and " skipped" not in text, text


# Where a life of tests_hw/host/life.py is cut off: VFIO_HW_CRASHES=20 for so many of its moments.
CRASHES = int(os.environ.get("VFIO_HW_CRASHES", "3"))
MOMENTS, CHANGES = 80, 24  # in a life
MOUNT = """
set -e
modprobe virtio_blk; modprobe ext2
blkid /dev/vda >/dev/null || mkfs.ext2 -q /dev/vda
e2fsck -p /dev/vda >/dev/null || [ $? = 1 ]  # as every boot does after a crash
mkdir -p /mnt/journal; mount /dev/vda /mnt/journal
export VFIO_HW_STATE=/mnt/journal/state
"""


@pytest.fixture
def booted(machine, tmp_path):
    """Boots a guest with the journal on the disk that survives, runs a script; what it said."""
    boots = 0

    def boot(script: str, **environment: str) -> tuple[Ending, int | None, str]:
        nonlocal boots
        boots += 1
        said = bytearray()
        ended = run(
            machine("sh", "-c", MOUNT + script, **environment),
            tmp_path / f"out-{boots}",
            deadlines=Deadlines(boot=_BOOT, whole=600.0),
            on_output=said.extend,
        )
        return ended.ending, ended.status, said.decode(errors="replace")

    return boot


def said_by_a_life(said: str) -> dict[str, list]:
    """What a life told, by its word; a line that a crash has cut off it did not tell."""
    told = defaultdict(list)
    for line in said.split("\n")[:-1]:
        if line.startswith("{"):
            for word, what in json.loads(line).items():
                told[word].append(what)
    return told


def test_a_machine_that_crashes_has_noted_each_change_before_it_was_made(booted):
    """Crashed after a change, or at moments spread over a life: what was told is on the disk.

    The journal is read, and nothing is undone twice.
    """
    pristine, changed, whole = None, [], 0
    for crash in [*range(1, CRASHES + 1), 0]:
        # Every second one as soon as a change was made, where a note that came late would be seen.
        changes = "told-" if crash % 2 else ""
        most = CHANGES if changes else MOMENTS
        moment = crash * most // (CRASHES + 1) if crash else 10**6
        ending, status, said = booted(
            f"exec {sys.executable} tests_hw/host/crash.py {changes}{moment}"
        )
        assert ending is (Ending.PANICKED if crash else Ending.EXITED), said
        assert status == (None if crash else 0), said
        told = said_by_a_life(said)
        assert (told["over"], told["left"]) == ([] if crash else [True], [[]]), said
        lacking = Counter(map(tuple, changed)) - Counter(map(tuple, told["noted"][0]))
        assert not lacking, f"changed, and not noted: {lacking}\n{said}"
        whole += bool(changed)
        pristine = pristine or told["machine"][0]
        assert told["machine"][0] == pristine
        assert all("the machine was booted since" in each for each in told["outcomes"][0])
        changed = told["changed"]
        assert len(changed) == moment if changes else changed or crash
    assert whole > CRASHES / 2 and len(changed) > CHANGES - 2


PLANTED = """
cat >tests_hw/pci/test_planted.py <<'E'
from pathlib import Path
def test_kills(edu):
    Path("/proc/sysrq-trigger").write_text("c")
def test_passes(edu):
    pass
E
vfio_hw="env -u VFIO_HW_GUEST {python} -m vfio_hw run --here --device 0000:00:04.0"
"""


def test_the_last_words_of_a_kernel_are_given_to_the_test_that_ran(booted):
    script = PLANTED.format(python=sys.executable)
    results = "--results /mnt/journal/results"
    test = "tests_hw/pci/test_planted.py::test_kills"
    ending, _, said = booted(f"{script} $vfio_hw {results} {test}")
    assert ending is Ending.PANICKED, said
    ending, status, said = booted(
        f"{script} $vfio_hw tests_hw/pci/test_planted.py::test_passes;"
        " cat /mnt/journal/results/events.jsonl"
    )
    assert (ending, status) == (Ending.EXITED, 0), said
    assert "an earlier run has ended with the machine:" in said
    assert f"{test}  [panic]" in said and "1 passed, 0 failed" in said
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    (result,) = [event for event in events if event["event"] == "finished"]
    assert (result["test"], result["verdict"], result["oracle"]) == (test, "failed", "panic")
    assert "sysrq: Trigger a crash" in result["text"]
