"""This file checks that a run goes on with the kernel only that it was begun on."""

import argparse
import os
from pathlib import Path

import pytest

from vfio_hw import resuming
from vfio_hw.errors import HarnessError
from vfio_hw.report.events import EventLog
from vfio_hw.vm import machine
from vfio_hw.vm.kernels import Kernel
from vfio_hw.vm.topology import topology

VFIO = "kernel/drivers/vfio/vfio.ko"


@pytest.fixture
def begin(tmp_path):
    """Begins a run of a kernel that may be changed in between, or goes on with it."""
    (tmp_path / "bzImage").write_text("image")
    module = tmp_path / "modules" / VFIO
    module.parent.mkdir(parents=True)
    module.write_text("module")
    log = EventLog(tmp_path / "events.jsonl")
    log.path.touch()

    def run(modules=tmp_path / "modules"):
        image = tmp_path / "bzImage"
        kernel = Kernel("mine", "7.3.4", image, modules, None, None, tmp_path)
        guest = machine.Guest(image, modules, topology("intel-iommu"), [])
        args = argparse.Namespace(seed=1, kernel="mine")
        return resuming.begin(args, log, guest, kernel, tmp_path)

    return run


def test_a_run_goes_on_with_the_kernel_that_it_was_begun_on(begin):
    begin()
    assert begin().left == []


@pytest.mark.parametrize("changed", ["bzImage", f"modules/{VFIO}"])
def test_one_whose_image_or_module_was_built_anew_is_another(begin, tmp_path, changed):
    begin()
    os.utime(tmp_path / changed, ns=(1, 1))
    with pytest.raises(HarnessError, match="begun on another kernel than mine is now"):
        begin()


def test_one_with_the_modules_of_another_place_is_another(begin, tmp_path):
    begin()
    (tmp_path / "modules").rename(tmp_path / "others")
    with pytest.raises(HarnessError, match="begun on another kernel"):
        begin(tmp_path / "others")


def test_a_record_that_knows_no_modules_goes_by_its_image(begin, tmp_path):
    begin()
    record: Path = tmp_path / "events.jsonl"
    record.write_text(record.read_text().replace("modules_state", "unknown"))
    assert begin().left == []
