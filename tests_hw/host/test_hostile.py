"""This file checks that names which devices, processes and users chose do no harm."""

import contextlib
import ctypes
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests_hw.host.conftest import done, sh
from vfio_hw.host.forked import forked
from vfio_hw.host.inventory import functions_of_kind
from vfio_hw.host.journals import ENDING
from vfio_hw.host.pci import KINDS
from vfio_hw.plugin import IN_GUEST
from vfio_hw.report.events import EventLog
from vfio_hw.session import PROJECT

ESCAPE = "\x1b[31m"


@pytest.fixture
def renamed(interface):
    """The card's interface has an escape sequence in its name, as the kernel lets it."""
    subprocess.run(["ip", "link", "set", interface, "name", f"{ESCAPE}x"], check=True)
    yield f"{ESCAPE}x"
    subprocess.run(["ip", "link", "set", f"{ESCAPE}x", "name", interface], check=True)


def fit_to_print(text: str) -> bool:
    return all(line.isprintable() for line in text.splitlines())


def test_list_and_doctor_print_no_name_raw(command, renamed, scratch, tmp_path):
    where = tmp_path / "a\n\r\u2028\x1b[2Jb"
    where.mkdir()
    controller, disk = scratch
    subprocess.run(["mkfs.ext2", "-q", f"/dev/{disk}"], check=True)
    subprocess.run(["mount", f"/dev/{disk}", where], check=True)
    subprocess.run(["ip", "address", "add", "192.0.2.1/24", "dev", renamed], check=True)
    try:
        for words in (["list"], ["doctor"], ["bind", str(controller)]):
            _, said = command(*words)
            assert fit_to_print(said), said
        assert "is mounted on" in said and "a\\n\\r\\u2028\\x1b[2Jb" in said
        _, told = command("list")
        assert "\\x1b[31mx has the address 192.0.2.1/24" in told
        _, told = command("list", "--json")
        assert fit_to_print(told) and json.loads(told)["functions"]
    finally:
        subprocess.run(["ip", "address", "flush", "dev", renamed], check=True)
        subprocess.run(["umount", where], check=True)


def test_a_process_with_a_name_for_a_terminal(command, scratch):
    controller, disk = scratch

    def holding(ready):
        ctypes.CDLL(None).prctl(15, b"a\x1b]0;x\n\xff)", 0, 0, 0)
        with Path(f"/dev/{disk}").open("rb"):
            ready()

    with forked(holding) as pid:
        status, said = command("bind", controller)
    assert status == 3 and fit_to_print(said)
    assert f"pid {pid} (a\\x1b]0;x\\n\\xff)" in said or f"pid {pid} (a\\x1b]0;x" in said


@pytest.mark.parametrize("address", ["0000:00:04.0\n", "../../x", "\x1b[2J", "0000:00:04.0/../x"])
def test_an_address_is_an_address(command, address):
    status, said = command("bind", address, "--dry-run")
    assert fit_to_print(said)
    assert status == (0 if address.strip() == "0000:00:04.0" else 3)


def test_a_results_directory_is_a_new_one(command, tmp_path, card):
    (tmp_path / "elsewhere").mkdir()
    for name, to in (("link", "elsewhere"), ("dangling", "nothing")):
        (tmp_path / name).symlink_to(tmp_path / to)
        status, said = command("run", "--here", f"--device={card}", f"--results={tmp_path / name}")
        assert status == 3 and "exists already" in said
    assert not any((tmp_path / "elsewhere").iterdir()) and not (tmp_path / "nothing").exists()


SWAPS = """
import os
from pathlib import Path
def test_swaps(edu):
    results, victim = Path("{results}"), Path("{victim}")
    results.rename("{results}.old")
    results.mkdir()
    for name in {names}:
        os.{link}(*([victim] if "{link}" != "mkfifo" else []), results / name)
def test_fails(edu, record_property):
    record_property("race", {{"test": "a race", "complaint": "x"}})
    assert False
"""
NAMES = ["raw.jsonl", "events.jsonl", "output.log", *(f"race-{number}.json" for number in range(3))]


@pytest.mark.parametrize("link", ["symlink", "link", "mkfifo"])
def test_who_may_change_the_directory_of_results_does_not_choose_what_is_written(
    life, state, tmp_path, edu, link
):
    """He puts another one in its place while root's run writes to it, full of links or FIFOs."""
    planted, victim = PROJECT / "tests_hw/pci/test_planted.py", tmp_path / "victim"
    results, old = tmp_path / "results", tmp_path / "results.old"
    victim.write_text("precious")
    planted.write_text(SWAPS.format(results=results, victim=victim, link=link, names=NAMES))
    before = life.machine()
    try:
        run = [sys.executable, "-m", "vfio_hw", "run", "--here", f"--device={edu}"]
        ended = subprocess.run(
            [*run, f"--results={results}", "tests_hw/pci/test_planted.py"],
            cwd=PROJECT,
            env={key: value for key, value in os.environ.items() if key != IN_GUEST},
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        planted.unlink()
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1 and fit_to_print(said) and "Traceback" not in said, said
    assert victim.read_text() == "precious", said
    assert sorted(each.name for each in results.iterdir()) == sorted(NAMES)
    verdicts = [each.verdict for each in EventLog(old / "events.jsonl").results()]
    assert verdicts == ["passed", "failed"], said
    assert json.loads((old / "race-1.json").read_text())["test"] == "a race"
    assert life.machine() == before and state.names(ENDING) == []


@pytest.fixture
def disguised(scratch, tmp_path):
    """The disk's controller, of which sysfs says that it is an edu; and the disk's name."""
    controller, disk = scratch
    vendor, device = KINDS["edu"]
    told = (controller.path / "uevent").read_text()
    told = re.sub(r"PCI_ID=.*", f"PCI_ID={vendor:04X}:{device:04X}", told)
    lies = {"vendor": f"{vendor:#06x}\n", "device": f"{device:#06x}\n", "uevent": told}
    with contextlib.ExitStack() as stack:
        for name, text in lies.items():
            lie, shown = tmp_path / name, (controller.path / name).resolve()
            lie.write_text(text)
            stack.enter_context(done(["mount", "--bind", lie, shown], ["umount", shown]))
        yield str(controller), disk


def test_ids_that_lie_make_no_disk_free_and_no_test_pass(
    command, disguised, here, ended, life, tmp_path
):
    """What a function backs is what the kernel has of it; what it can do is judged."""
    controller, disk = disguised
    assert controller in map(str, functions_of_kind("edu"))
    before = life.machine()
    sh("mkfs.ext2", "-q", f"/dev/{disk}")
    (tmp_path / "mounted").mkdir()
    with done(["mount", f"/dev/{disk}", tmp_path / "mounted"], ["umount", tmp_path / "mounted"]):
        for words in (["bind", controller], ["run", "--here", f"--device={controller}"]):
            status, said = command(*words)
            assert status == 3 and "is mounted on" in said, said
        assert life.machine() == before
    process, results = here("tests_hw/contract/test_kinds.py", device=controller)
    status, said = ended(process)
    assert status == 1 and fit_to_print(said) and "Traceback" not in said, said
    verdicts = {each.verdict for each in EventLog(results / "events.jsonl").results()}
    assert "failed" in verdicts and "error" not in verdicts, said
    assert life.machine() == before


def test_a_driver_is_a_name_and_no_path(command, card):
    status, said = command("bind", card, "--driver", "../../../../tmp")
    assert status == 3 and "there is no PCI driver" in said and card.driver == "e1000e"
