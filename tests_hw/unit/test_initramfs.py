"""This file checks the archive that a guest starts with: what the kernel unpacks, cpio does too."""

import os
import shutil
import stat
import subprocess

import pytest

from vfio_hw.vm.initramfs import Member, archive, copies


def unpacked(packed: bytes, directory):
    subprocess.run(["cpio", "-idm", "--quiet"], input=packed, cwd=directory, check=True, timeout=30)
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


needs_cpio = pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")


@needs_cpio
def test_cpio_unpacks_what_was_packed(tmp_path):
    program = Member("init", stat.S_IFREG | 0o755, b"#!/bin/sh\n")
    files = {"guest/argv": b"true\0", "guest/empty": b"", "odd": b"12345"}
    members = [Member(path, content=content) for path, content in files.items()]
    assert unpacked(archive([program, *members]), tmp_path) == {"init": program.content, **files}
    assert (tmp_path / "init").stat().st_mode & 0o111
    assert not (tmp_path / "odd").stat().st_mode & 0o111


@needs_cpio
def test_copies_of_files_are_those_of_the_host(tmp_path):
    """Bytecode counts when its source has the time that it notes; a directory keeps its mode."""
    here, there = tmp_path / "here", tmp_path / "there"
    for directory in (here / "closed", there):
        directory.mkdir(parents=True)
    (here / "closed").chmod(0o700)
    file, gone, link = here / "closed" / "a.py", here / "gone.py", here / "link.py"
    file.write_bytes(b"pass\n")
    os.utime(file, (1_700_000_000, 1_700_000_000.7))
    link.symlink_to(file)
    found = unpacked(archive(list(copies([gone, link, file]))), there)
    assert found == {f"packed{file}": b"pass\n"}
    copy = there / f"packed{file}"
    assert int(copy.stat().st_mtime) == 1_700_000_000
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_every_member_starts_on_a_multiple_of_four():
    packed = archive([Member("a", content=b"1"), Member("bb", content=b"22")])
    starts = [at for at in range(len(packed)) if packed.startswith(b"070701", at)]
    assert len(starts) == 3  # the two and the trailer
    assert all(start % 4 == 0 for start in starts)
    assert len(packed) % 4 == 0
