"""This file checks that nothing a run on a real machine can reach writes to sysfs past the journal.

vfio_hw/host/sysfs.py and blocking.py tell it of each write; a parameter of a module goes by
vfio_hw/host/parameter.py.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.session import PROJECT

#: Where a run on a real machine comes by. What is not here runs outside of it or, as tests_hw/host
#: and tests_hw/harness, in a guest that is thrown away.
REACHED = ("vfio_hw/host", "vfio_hw/oracle", "vfio_hw/race", "vfio_hw/vfio", "vfio_hw/devices")
REACHED += ("vfio_hw/fixtures", "vfio_hw/watchdog", "vfio_hw/here", "tests_hw")
NOT_THERE = ("unit", "host", "harness")
#: Files that open something for writing by themselves, and why they may.
MAY = {
    "vfio_hw/host/sysfs.py": "it tells the journal",
    "vfio_hw/host/writer.py": "what blocking.py has told the journal of",
    "vfio_hw/host/cpus.py": "the journal was told before the child was forked",
    "vfio_hw/host/plugging.py": "a port of a guest whose QEMU is asked",
    "tests_hw/aer/conftest.py": "the config space of a function of such a guest",
    "vfio_hw/host/aer.py": "a node of /dev",
    "vfio_hw/host/hypervisor.py": "a node of /dev, in such a guest",
    "vfio_hw/host/vga_arbiter.py": "a node of /dev, which is let go of with its descriptor",
    "vfio_hw/vfio/descriptor.py": "nodes of VFIO",
    "tests_hw/contract/test_iommufd_map.py": "a node of /dev",
    "tests_hw/lifecycle/test_mdev_removal.py": "ends devices that the journal has as ours",
    "vfio_hw/oracle/kmemleak.py": "commands; that it scans by itself, and the console's level",
    "vfio_hw/oracle/memory.py": "a command, after which nothing is different",
    "vfio_hw/oracle/growth.py": "a command of /proc",
    "vfio_hw/watchdog/evidence.py": "a command of /proc",
    "vfio_hw/watchdog/guard.py": "its own name, in /proc, and /dev/null",
    "vfio_hw/race/ledger.py": "a file of ours",
}


def reached() -> Iterator[Path]:
    for place in REACHED:
        for path in sorted((PROJECT / place).rglob("*.py")):
            if path.relative_to(PROJECT).parts[:2] not in {
                ("tests_hw", each) for each in NOT_THERE
            }:
                yield path


def writes(call: ast.Call) -> bool:
    """It writes to a file by its name, or opens one for that."""
    if not isinstance(call.func, ast.Attribute | ast.Name):
        return False
    attribute = isinstance(call.func, ast.Attribute)
    name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
    if name in ("write_text", "write_bytes"):
        return True
    if name != "open":
        return False
    if attribute and ast.unparse(call.func) == "os.open":
        return any(word in ast.unparse(call) for word in ("O_WRONLY", "O_RDWR"))
    modes = [each.value for each in ast.walk(call) if isinstance(each, ast.Constant)]
    return any(
        isinstance(each, str) and set(each) <= set("rwab+x") and set(each) & set("wax+")
        for each in modes
    )


def test_no_raw_write_gets_past_the_journal():
    found = {
        str(path.relative_to(PROJECT))
        for path in reached()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and writes(node)
    }
    assert found == set(MAY)


def test_what_writes_is_known():
    for text, is_one in (
        ('Path("/sys/x").write_text("1")', True),
        ('path.open("r+b", buffering=0)', True),
        ('open(path, "w")', True),
        ("os.open(path, os.O_RDWR)", True),
        ('path.open("rb", buffering=0)', False),
        ("os.open(path, os.O_RDONLY)", False),
        ('write(path, "1")', False),
    ):
        (call,) = ast.parse(text).body
        assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
        assert writes(call.value) == is_one, text
