"""Two functions that report errors when QEMU is told to let them."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.devices import may_take
from vfio_hw.host import aer
from vfio_hw.host.aer import Recoveries
from vfio_hw.host.binding import bound_to
from vfio_hw.host.hypervisor import Hypervisor
from vfio_hw.host.inventory import functions
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.sysfs import write
from vfio_hw.vfio.device import Device

_VIRTIO_RNG = "1AF4:1044"  # VIRTIO_ID_RNG of a device without the legacy interface
# Where the function says how many queues it has, which is one.  Source: virtio_pci_common_cfg in
# linux/virtio_pci.h; QEMU has it at the beginning of this BAR.
_BAR, _QUEUES = 4, 0x12
_POLL = 0.005
_WORD = 4


@dataclass(frozen=True)
class Reporter:
    """A function bound to vfio-pci, and what QEMU calls it."""

    name: str
    function: PciFunction
    qemu: Hypervisor

    @property
    def path(self) -> Path:
        """Its directory in sysfs."""
        return self.function.path

    def report(self, severity: str) -> None:
        """Let it report an uncorrectable error of this severity."""
        aer.report(self.qemu, self.name, severity)

    def counted(self) -> dict[str, int]:
        """How many errors of each severity the kernel has had from it."""
        return aer.counted(self.function)

    def must_count(self, expected: dict[str, int], deadline: float) -> None:
        """The kernel's counters say this within ``deadline`` seconds."""
        end = time.monotonic() + deadline
        while self.counted() != expected and time.monotonic() < end:
            time.sleep(_POLL)
        assert self.counted() == expected

    def must_be_whole(self, bars: bytes) -> None:
        """Its BARs are what they were."""
        assert self.bars() == bars, "the reset of the link has taken its BARs"

    def bars(self) -> bytes:
        """The registers of its BARs, as they are in the function."""
        return (self.path / "config").read_bytes()[0x10:0x28]


@contextlib.contextmanager
def put_back(function: PciFunction) -> Iterator[None]:
    """The registers of the function are after what they were before, whoever has lost them."""
    config, power = function.path / "config", function.path / "power/control"
    before, saving = config.read_bytes(), power.read_text()
    yield
    # What is written to one that sleeps is lost when it wakes up.
    write(power, "on")
    try:
        now = config.read_bytes()
        with config.open("r+b", buffering=0) as file:
            # Downwards: it answers at its BARs only when these are there.
            for at in range(len(before) - _WORD, -1, -_WORD):
                if before[at : at + _WORD] != now[at : at + _WORD]:
                    file.seek(at)
                    file.write(before[at : at + _WORD])
    finally:
        write(power, saving.strip())


def works(device: Device) -> bool:
    """The function answers in its memory."""
    return device.region(_BAR).get(_QUEUES, 2) == 1


def _reporters(config: pytest.Config) -> dict[str, PciFunction]:
    # In the order of their ports, which is that of the machine's description.
    found = [each for each in functions(PCI_ID=_VIRTIO_RNG) if may_take(config, each)]
    if len(found) != 2:
        raise Unsupported("not two functions that QEMU lets report errors")
    return dict(zip(("faulty", "sound"), found, strict=True))


@pytest.fixture
def make(pytestconfig: pytest.Config, qmp: Hypervisor) -> Callable[[str], Reporter]:
    """Makes one of the two by QEMU's name of it."""
    found = _reporters(pytestconfig)
    return lambda name: Reporter(name, found[name], qmp)


@pytest.fixture
def faulty(make: Callable[[str], Reporter]) -> Iterator[Reporter]:
    """The one whose errors the tests are about, bound to vfio-pci."""
    one = make("faulty")
    with bound_to(one.function), put_back(one.function):
        yield one


@pytest.fixture
def recoveries(faulty: Reporter) -> Iterator[Recoveries]:
    """What the kernel says of the recovery of the one whose errors the tests are about."""
    with contextlib.closing(Recoveries(faulty.function)) as told:
        yield told


@pytest.fixture
def sound(make: Callable[[str], Reporter]) -> Iterator[Reporter]:
    """One below another root port."""
    one = make("sound")
    with bound_to(one.function):
        yield one


@pytest.fixture(params=list(aer.UNCORRECTABLE))
def severity(request: pytest.FixtureRequest) -> str:
    """Each severity of what has to be recovered from, in turn."""
    return str(request.param)
