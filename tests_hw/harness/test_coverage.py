"""This file checks that a run on a kernel that counts tells which lines it reached.

That kernel is one more to build, so the tests are skipped where nobody has built it.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from vfio_hw.coverage import counts
from vfio_hw.vm import kernels

COUNTING = "latest-cov"
SELECTION = "tests_hw/lifecycle/test_request.py::test_the_owner_is_asked_at_once"


@pytest.fixture(autouse=True)
def kernel():
    if COUNTING not in [kernel.name for kernel in kernels.built()]:
        pytest.skip(f"{COUNTING} is not built: vfio-hw kernel build {COUNTING}")


def coverage(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vfio_hw", "coverage", "--accel=tcg", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[2]
    )


def reached(path: Path) -> dict[str, int]:
    return {name: lines.reached for name, lines in counts.read(path).files.items()}


def test_what_a_test_reaches_is_told_and_what_it_can_not_reach_is_not(tmp_path):
    done = coverage(f"--results={tmp_path / 'results'}", SELECTION, "--uncovered=vfio_main.c")
    assert done.returncode == 0, done.stdout + done.stderr
    of = reached(tmp_path / "results" / "coverage.json")
    assert of["drivers/vfio/vfio_main.c"] > 100
    assert of["drivers/vfio/pci/vfio_pci_core.c"] > 100
    # Its module is loaded, and none of its devices is made.
    assert 0 < of["samples/vfio-mdev/mbochs.c"] < of["drivers/vfio/vfio_main.c"]
    assert "drivers/vfio together" in done.stdout
    assert "drivers/vfio/vfio_main.c: " in done.stdout


def test_a_command_is_counted_and_its_status_passed_on(tmp_path):
    results = tmp_path / "results"
    script = "/usr/sbin/modprobe mtty; echo said by the command; exit 7"
    done = coverage(f"--results={results}", "--command", "--", "sh", "-c", script)
    assert done.returncode == 7, done.stdout + done.stderr
    assert "said by the command" in done.stdout
    of = reached(results / "coverage.json")
    assert of["samples/vfio-mdev/mtty.c"] > 0
    # No device was opened.
    assert of["drivers/vfio/group.c"] < 20


def test_a_kernel_that_does_not_count_is_refused_at_once():
    done = coverage("--kernel=latest", SELECTION)
    assert done.returncode == 3
    assert "kernel latest counts no lines: name one that ends in -cov" in done.stderr
