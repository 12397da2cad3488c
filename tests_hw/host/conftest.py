"""Tests of what vfio-hw does to the machine it runs on; they run in a guest of the machine `host`.

tests_hw/harness/test_host.py boots it.
"""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vfio_hw.cli import main
from vfio_hw.host import modules, sysfs
from vfio_hw.host.descendants import descendants
from vfio_hw.host.inventory import functions_of_kind
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.restore import restore
from vfio_hw.host.safety import Safety
from vfio_hw.host.state import VARIABLE, State
from vfio_hw.plugin import IN_GUEST


@pytest.fixture(autouse=True, scope="session")
def guest(life) -> None:
    """The machine may be broken, and has its drivers."""
    assert os.environ.get(IN_GUEST), "these tests take disks and interfaces away: in a guest only"
    for name in ("ext2", "vfio_iommu_type1", "iommufd"):
        modules.load(name)
    life.load_modules()


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[State]:
    """An empty directory of state, which the command finds; nothing is left over in the end."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "state"))
    found = State()
    yield found
    for _ in restore(found):
        pass
    found.close()


@pytest.fixture
def command(state: State, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs vfio-hw; gives its exit status, and what it said."""

    def run(*words: object) -> tuple[int, str]:
        status = main([str(word) for word in words])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


@pytest.fixture
def rules() -> Callable[[PciFunction], list[str]]:
    """The rules by which a function may not be taken now."""
    return lambda function: [each.rule for each in Safety().refusals(function)]


@pytest.fixture
def card() -> PciFunction:
    """A network card, alone in its group."""
    return next(each for each in functions_of_kind("e1000e") if not each.siblings())


@pytest.fixture
def edu() -> PciFunction:
    """An edu, alone in its group."""
    return next(each for each in functions_of_kind("edu") if not each.siblings())


@pytest.fixture
def shared() -> list[PciFunction]:
    """The edu and the network card that share a group."""
    first = next(each for each in functions_of_kind("edu") if each.siblings())
    return [first, *(each for each in first.siblings() if each.kind)]


@pytest.fixture
def interface(card: PciFunction) -> str:
    """The interface of the card."""
    return next(each.name for each in descendants(card.path) if each.subsystem == "net")


@pytest.fixture
def scratch() -> tuple[PciFunction, str]:
    """A controller with a disk of 16 MiB that nobody needs, and the disk's name."""
    for function in functions_of_kind("nvme"):
        for each in descendants(function.path):
            if each.subsystem == "block":
                Path(f"/dev/{each.name}").write_bytes(bytes(1 << 20))
                return function, each.name
    raise AssertionError("no NVMe controller has a disk")


@pytest.fixture(scope="session")
def udev() -> Path:
    """Where udev's programs are: those of the host, or where the harness has unpacked them."""
    return Path(os.environ["VFIO_HW_TEST_UDEV"])


@pytest.fixture(scope="session")
def life():
    """The module life.py."""
    described = importlib.util.spec_from_file_location("life", Path(__file__).with_name("life.py"))
    assert described and described.loader
    module = importlib.util.module_from_spec(described)
    sys.modules["life"] = module
    described.loader.exec_module(module)
    return module


class Spy:
    """Sees every write."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, str]] = []

    def before(self, path: Path, text: str) -> None:
        self.writes.append((str(path), text.strip()))

    def after(self, token: None, *, made: bool) -> None:
        pass


@pytest.fixture
def writes() -> Iterator[list[tuple[str, str]]]:
    """Every write to sysfs of this process so far, path and text."""
    spy = Spy()
    sysfs.keepers.append(spy)
    yield spy.writes
    sysfs.keepers.remove(spy)


@pytest.fixture
def before(life):
    """The machine as it is before the test, which is how it must be after."""
    found = life.machine()
    yield found
    assert life.machine() == found
