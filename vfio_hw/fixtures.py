"""The fixtures of the hardware tests: a device, taken before the test and given back after."""

import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from vfio_hw.errors import HarnessError, Unsupported
from vfio_hw.host.binding import bound_to
from vfio_hw.host.blocking import BlockingWrite
from vfio_hw.host.inventory import functions_of_kind, iommu_groups
from vfio_hw.host.mdev import Mdev, created, type_by_id
from vfio_hw.host.pci import PciFunction
from vfio_hw.plugin import IN_GUEST
from vfio_hw.race.racer import Racer
from vfio_hw.race.spread import Judge, RaceResult, Scene, race
from vfio_hw.vfio.opened import IOMMU_MODES


@dataclass(frozen=True)
class Target:
    """A device under test, whatever bus it is on.

    ``name`` is what VFIO_GROUP_GET_DEVICE_FD takes: a PCI address or the UUID of an mdev.
    """

    kind: str
    name: str
    path: Path
    handle: Mdev | PciFunction

    @property
    def iommu_group(self) -> int:
        """The number of its IOMMU group, and so of its node in /dev/vfio."""
        group = self.handle.iommu_group
        if group is None:
            raise HarnessError(f"{self.name} has no IOMMU group: is the IOMMU on?")
        return group

    def removal(self) -> BlockingWrite:
        """The write that takes the device away, not yet started: mdev remove, driver unbind."""
        if isinstance(self.handle, Mdev):
            return self.handle.removal()
        return BlockingWrite((self.path / "driver").resolve() / "unbind", self.name)


def _functions(config: pytest.Config, kind: str) -> list[PciFunction]:
    """The functions of a kind that the tests may take, those alone in their group first."""
    allowed = [PciFunction.at(address) for address in config.option.device]
    if allowed:
        found = [function for function in allowed if function.kind == kind]
    elif os.environ.get(IN_GUEST):
        found = functions_of_kind(kind)
    else:
        raise Unsupported("no --device given")
    return sorted(found, key=lambda function: (len(function.siblings()), function.address))


def _function(config: pytest.Config, kind: str) -> PciFunction:
    found = _functions(config, kind)
    if not found:
        raise Unsupported(f"no {kind} among the devices that the tests may take")
    return found[0]


@pytest.fixture
def mtty() -> Iterator[Mdev]:
    """A mediated device of the sample driver mtty, with one port."""
    with created(type_by_id("mtty-1")) as mdev:
        yield mdev


@pytest.fixture
def edu(pytestconfig: pytest.Config) -> Iterator[PciFunction]:
    """QEMU's educational device, bound to vfio-pci: INTx, MSI, one BAR, a DMA engine."""
    with bound_to(_function(pytestconfig, "edu"), "vfio-pci") as function:
        yield function


@pytest.fixture
def e1000e(pytestconfig: pytest.Config) -> Iterator[PciFunction]:
    """An Intel 82574 bound to vfio-pci: MSI-X, function level reset."""
    with bound_to(_function(pytestconfig, "e1000e"), "vfio-pci") as function:
        yield function


@pytest.fixture
def free_e1000e(pytestconfig: pytest.Config) -> PciFunction:
    """An Intel 82574 that the test may bind to what it likes, and gives back as it found it."""
    return _function(pytestconfig, "e1000e")


@pytest.fixture
def two_of_a_group(pytestconfig: pytest.Config) -> list[PciFunction]:
    """Two edu functions that share an IOMMU group, bound to no driver.

    :raises Unsupported: no such group.
    """
    allowed = {function.address: function for function in _functions(pytestconfig, "edu")}
    for members in iommu_groups().values():
        pair = [allowed[name] for name in members if name in allowed]
        if len(pair) > 1:
            return pair[:2]
    raise Unsupported("no two edu functions share an IOMMU group")


@pytest.fixture(params=["mtty", "edu", "e1000e"])
def device(request: pytest.FixtureRequest) -> Target:
    """Each kind of device in turn."""
    handle = request.getfixturevalue(request.param)
    name = handle.uuid if isinstance(handle, Mdev) else handle.address
    return Target(request.param, name, handle.path, handle)


@pytest.fixture(params=["edu", "e1000e"])
def pci_device(request: pytest.FixtureRequest) -> Target:
    """Each kind of PCI function in turn."""
    handle = request.getfixturevalue(request.param)
    return Target(request.param, handle.address, handle.path, handle)


@pytest.fixture(params=IOMMU_MODES)
def iommu_mode(request: pytest.FixtureRequest) -> str:
    """Each of the five IOMMU modes in turn."""
    return str(request.param)


class Raced(Protocol):
    """Runs one race for this run's budget, with this run's seed, and records what it came to."""

    def __call__(
        self,
        racer: Racer,
        scene: Callable[[], Scene],
        legal: Collection[tuple[str, ...]],
        judge: Judge | None = None,
        *,
        window_ns: int,
    ) -> RaceResult: ...


@pytest.fixture
def raced(pytestconfig: pytest.Config, record_property: Callable[[str, object], None]) -> Raced:
    """See :func:`vfio_hw.race.spread.race`; no slot may be left open by the programs."""

    def run(
        racer: Racer,
        scene: Callable[[], Scene],
        legal: Collection[tuple[str, ...]],
        judge: Judge | None = None,
        *,
        window_ns: int,
    ) -> RaceResult:
        result = race(
            racer,
            scene,
            budget_seconds=pytestconfig.option.race_budget,
            seed=pytestconfig.option.seed,
            window_ns=window_ns,
            legal=legal,
            judge=judge,
        )
        if result.left_open:
            raise HarnessError(f"the programs of the race left {dict(result.left_open)} open")
        record_property("rounds", result.rounds)
        record_property("met", result.met)
        record_property("rounds_per_second", round(result.rounds_per_second, 1))
        named = {" / ".join(key): count for key, count in result.outcomes.most_common()}
        record_property("outcomes", named)
        return result

    return run
