"""This file checks the archive that a guest starts with: what the kernel unpacks, cpio does too."""

import shutil
import subprocess

import pytest

from vfio_hw.vm.initramfs import archive


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_unpacks_what_was_packed(tmp_path):
    files = {"init": b"#!/bin/sh\n", "guest/argv": b"true\0", "guest/empty": b"", "odd": b"12345"}
    packed = archive(files, programs=["init"])
    subprocess.run(["cpio", "-id", "--quiet"], input=packed, cwd=tmp_path, check=True, timeout=30)
    found = {
        str(path.relative_to(tmp_path)): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert found == files
    assert (tmp_path / "init").stat().st_mode & 0o111
    assert not (tmp_path / "odd").stat().st_mode & 0o111


def test_every_member_starts_on_a_multiple_of_four():
    packed = archive({"a": b"1", "bb": b"22", "ccc": b"333"})
    starts = [at for at in range(len(packed)) if packed.startswith(b"070701", at)]
    assert len(starts) == 4  # the three and the trailer
    assert all(start % 4 == 0 for start in starts)
    assert len(packed) % 4 == 0
