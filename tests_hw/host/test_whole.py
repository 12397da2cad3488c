"""This file runs the suite as on a real machine, as root: no test fails, and all is as it was.

On functions with a driver of their own and without, beside a mediated device that is somebody
else's.
"""

import contextlib
import subprocess
from pathlib import Path

import pytest

from vfio_hw.host import modules, sysfs
from vfio_hw.host.mdev import created, type_by_id
from vfio_hw.report.events import EventLog, Result

#: Seconds.
WHOLE = 3000.0
MATRIX = "tests_hw/race/test_matrix.py"
#: Pairs that take away what others may have, and the last ones what others have.
PAIRS = (
    "VFIO_GROUP_GET_DEVICE_FD-against-pci_remove-edu",
    "VFIO_GROUP_GET_DEVICE_FD-against-pci_remove-e1000e",
    "close_device-against-pci_remove-nvme",
    "open_cdev-against-driver_unbind-e1000e",
    "VFIO_GROUP_GET_DEVICE_FD-against-mdev_remove-mtty",
    "VFIO_GROUP_GET_DEVICE_FD-against-module_unload-mtty",
    "VFIO_DEVICE_GET_INFO-against-module_unload-mdpy",
)
#: What else of a machine tests change.
FILES = (
    "/proc/mounts",
    "/proc/sys/fs/file-max",
    "/proc/sys/kernel/printk",
    "/sys/bus/pci/drivers_autoprobe",
    "/sys/devices/system/cpu/online",
)
#: Modules that stay when a run has loaded them.
STAY = {"vfio", "vfio_pci", "vfio_pci_core", "vfio_iommu_type1", "iommufd", "irqbypass"}
STAY |= {"kvm", "kvm_amd", "kvm_intel"}


@pytest.fixture
def untouched(life, card):
    """What life.py looks at, nodes, parameters, and what else tests change, is as it was after.

    The card may sleep, and somebody else's mediated device is there.
    """
    modules.load_available(("vfio-pci", "vfio_iommu_type1", "iommufd", "mdpy", "mbochs"))
    loaded = modules.loaded()

    def looked() -> dict[str, str | None]:
        found = life.machine() | {name: sysfs.attribute(Path(name)) for name in FILES}
        found["nodes"] = " ".join(sorted(map(str, Path("/dev/vfio").rglob("*"))))
        for file in (each for name in loaded for each in parameters(name)):
            with contextlib.suppress(OSError):  # one that can not be read
                found[str(file)] = sysfs.attribute(file)
        return found

    may_sleep = life.set_to(card.path / "power/control", "auto")
    with created(type_by_id("mtty-1")) as theirs, may_sleep:
        before = looked()
        yield
        assert theirs.exists and looked() == before
    now = set(modules.loaded())
    assert set(loaded) <= now <= {*loaded, *STAY}


def parameters(module: str) -> list[Path]:
    return sorted(Path("/sys/module", module, "parameters").glob("*"))


@pytest.fixture
def ran(here, edu, card, scratch):
    """Runs tests on three functions; what became of each. Nothing is told to be left."""

    def run(*words: str) -> list[Result]:
        devices = [f"--device={each}" for each in (card, scratch[0])]
        options = [*devices, "--race-budget=2", "--seed=1"]
        process, results = here(*options, *words, device=edu.address)
        said = ended(process)
        found = EventLog(results / "events.jsonl").results()
        bad = [each for each in found if each.verdict in ("failed", "error")]
        text = "\n\n".join([said, *(f"{each.test}\n{each.text}" for each in bad)])
        assert (process.returncode, bad) == (0, []), text
        assert "left  " not in said and "failed  " not in said and "not run" not in said, said
        return found

    return run


def ended(process: "subprocess.Popen[str]") -> str:
    said, _ = process.communicate(timeout=WHOLE)
    return said


def test_the_suite_leaves_a_machine_as_it_was(ran, untouched):
    """Each test once."""
    found = ran("--quick")
    assert sum(each.verdict == "passed" for each in found) > 400


def test_races_take_nothing_away_for_good(ran, untouched):
    """What would take along what others have is not done."""
    found = ran(MATRIX, "--", f"--pairs={','.join(PAIRS)}")
    refused = {each.test for each in found if each.verdict == "skipped"}
    assert len(found) == len(PAIRS) and len(refused) == 2
    assert all("module_unload" in each for each in refused)
