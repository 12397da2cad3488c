"""This file checks that what is asked for reaches a guest as it is, and nothing else by it.

A program in QEMU's place writes down what it was started with.
"""

import os
from pathlib import Path

import pytest

from vfio_hw.session import pytest_line
from vfio_hw.vm.power import Guest, power_on
from vfio_hw.vm.topology import topology

WORDS = [
    "x panic=1 init=/bin/sh",
    "x\npanic=1\ninit=/bin/sh\n",
    '" panic=1 init=/bin/sh "',
    "' panic=1 -append init=/bin/sh",
    "-append init=/bin/sh",
    "-k", "removal or panic=1 init=/bin/sh",
    "--deselect=a,b panic=1 -- init=/bin/sh",
    "$(init=/bin/sh) `panic=1` %s \\n \udcff",
]  # fmt: skip
QEMU = """#!/bin/sh
cd {place}
printf '%s\\0' "$@" > said.new
while [ "$1" != -initrd ]; do shift; done
cat "$2" > initrd
mv said.new said
"""


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Starts a guest: the arguments that QEMU gets, and what is in the memory of the guest."""
    program = tmp_path / "bin" / "qemu-system-x86_64"
    program.parent.mkdir()
    program.write_text(QEMU.format(place=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def start(*argv: str, image: Path = Path("/bzImage")) -> tuple[list[str], bytes]:
        cwd, environment = tmp_path / argv[-1].replace("/", " "), {"WORDS": argv[-1]}
        machine = topology("intel-iommu")
        guest = Guest(image, None, machine, argv, cwd=cwd, environment=environment)
        powered = power_on(guest, tmp_path / "qemu.log")
        try:
            assert powered.process.wait(timeout=60) == 0, (tmp_path / "qemu.log").read_text()
        finally:
            powered.off()
        said = os.fsdecode((tmp_path / "said").read_bytes())
        return said.split("\0")[:-1], (tmp_path / "initrd").read_bytes()

    return start


def appended(line: list[str]) -> str:
    assert line.count("-append") == 1
    return line[line.index("-append") + 1]


def test_what_is_selected_is_an_argument_of_pytest_and_none_of_the_kernel(started):
    line, _ = started("true")
    for number in range(len(WORDS)):
        words = pytest_line(seed=1, devices=WORDS[:1], selection=WORDS[number:])
        asked, memory = started(*words)
        assert appended(asked) == appended(line) and len(asked) == len(line)
        assert b"".join(os.fsencode(word) + b"\0" for word in words) in memory
        assert words[len(words) - len(WORDS) + number :] == WORDS[number:]


@pytest.mark.parametrize("word", WORDS)
def test_the_path_of_a_kernel_is_a_path(started, word):
    line, _ = started("true")
    image = Path("/boot", word)
    asked, _ = started("true", image=image)
    assert asked[asked.index("-kernel") + 1] == str(image)
    assert appended(asked) == appended(line) and len(asked) == len(line)
