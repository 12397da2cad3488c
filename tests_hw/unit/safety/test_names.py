"""This file checks that a name in /proc, which anybody may have chosen, does not end its line.

The kernel escapes a newline in it, and nothing else of what str.splitlines() parts.
"""

from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.host import cgroup, storage
from vfio_hw.host.interrupts import sent_to
from vfio_hw.host.process import Task
from vfio_hw.host.tables import mappings
from vfio_hw.oracle.holders import descriptors_held, holders
from vfio_hw.oracle.look.files import lines
from vfio_hw.watchdog import evidence

ENDS = ["\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
odd = pytest.mark.parametrize("end", ENDS, ids=[f"U+{ord(end):04X}" for end in ENDS])


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


@odd
def test_in_the_name_of_a_mount_point(tree, end):
    """As in a namespace that a user has made; what is mounted after it is seen."""
    tree.disk()
    (tree.root / "proc/self/ns").mkdir()
    (tree.root / "proc/self/ns/mnt").symlink_to("mnt:[1]")
    (tree.root / "proc/77/ns").mkdir(parents=True)
    (tree.root / "proc/77/ns/mnt").symlink_to("mnt:[2]")
    first = f"20 1 0:44 / /tmp/a{end}b rw shared:1 - tmpfs a{end}b rw\n"
    second = f"21 1 259:0 / /data{end} rw - ext4 /dev/nvme0n1 rw\n"
    put(tree.root / "proc/77/mountinfo", first + second)
    (refusal,) = tree.refusals()
    assert refusal.reason == f"nvme0n1 is mounted on /data{end}"


@odd
def test_in_the_name_of_what_is_swapped_to(tree, end, monkeypatch):
    tree.disk()
    first, second = (
        f"/dev/a{end}b     partition\t1\t0\t-2",
        r"/dev/c\040d" + "\tpartition\t1\t0\t-3",
    )
    put(tree.root / "proc/swaps", f"Filename\t\t\t\tType\n{first}\n{second}\n")
    asked = []
    monkeypatch.setattr(storage, "nodes_at", lambda paths, root: asked.extend(paths) or {})
    assert tree.rules() == [] and asked == [f"/dev/a{end}b", "/dev/c d"]


@odd
def test_in_the_name_of_a_file_that_is_mapped(tmp_path, end):
    """Nor does what follows it pass for another mapping."""
    name = f"/tmp/a{end}1-2 rw-s 0 00:05 7 /dev/vfio/devices/vfio0"
    put(tmp_path / "proc/7/maps", f"7f10-7f20 r--s 00000000 fe:00 9    {name}\n")
    assert [each.target for each in mappings(7, tmp_path)] == [name]
    assert holders(tmp_path) == []


def test_in_the_names_of_who_has_a_device_open(tmp_path):
    """They are told in one line."""
    put(tmp_path / "proc/7/comm", "a\rpid 8 (b\n\n")
    (tmp_path / "proc/7/fd").mkdir()
    (tmp_path / "proc/7/fd/5").symlink_to("/dev/vfio/5\r\x1b[2Jx")
    told = ["pid 7 (a\\rpid 8 (b) descriptor 5: /dev/vfio/5\\r\\x1b[2Jx"]
    assert descriptors_held(7, tmp_path) == holders(tmp_path) == told


@pytest.mark.parametrize("gone", [False, True])
def test_a_thread_has_a_mount_namespace_that_its_process_has_not(tree, gone):
    """Also where it is the last thread, as the first one has ended; or another one ends now."""
    tree.disk()
    for tid, space in (("77", 1), ("78", 2), ("79", 2)):
        thread = tree.root / "proc/77/task" / tid
        (thread / "ns").mkdir(parents=True)
        (thread / "ns/mnt").symlink_to(f"mnt:[{space}]")
        put(thread / "mountinfo", "21 1 259:0 / /data rw - ext4 x rw\n" if space == 2 else "")
    if gone:
        (tree.root / "proc/77/task/77/ns/mnt").unlink()
        (tree.root / "proc/77/task/78/mountinfo").unlink()
    assert tree.rules() == ["mounted"]


@odd
def test_in_any_table_that_is_read(tmp_path, end, monkeypatch):
    file = put(tmp_path / "table", f"a{end}b\n 5: 0 IR-PCI-MSI vfio-msi[0](0000:00:04.0)\n")
    assert [line[:3] for line in lines(str(file))] == [f"a{end}b", " 5:"]
    assert sent_to("0000:00:04.0", file) == Path("/proc/irq/5/smp_affinity_list")
    with pytest.raises(HarnessError):
        sent_to("0000:00:05.0", file)
    file.write_bytes(b" 4: 0 eth\xff\n 5: 0 vfio-msi[0](0000:00:04.0)\n")
    assert sent_to("0000:00:04.0", file) == Path("/proc/irq/5/smp_affinity_list")
    put(file, f"x /tmp/a{end}b fuse rw 0 0\nnone /where cgroup2 rw 0 0\n")
    monkeypatch.setattr(cgroup, "_MOUNTS", file)
    with cgroup._mounted() as where:
        assert where == Path("/where")


@odd
def test_in_the_name_of_a_process_that_hangs(tmp_path, end, monkeypatch):
    """It does not say what state it is in."""
    put(tmp_path / "7/task/8/status", f"Name:\ta{end}State:\tb\nState:\tD (disk sleep)\n")
    monkeypatch.setattr(evidence, "PROC", tmp_path)
    assert evidence._status(Task(7, 8, 1, "a", "D")) == "State: D (disk sleep)"
