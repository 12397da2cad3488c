"""Functions that are reset while they, or those of their group, get an IOMMU."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.devices import may_take
from vfio_hw.host.binding import bound_to
from vfio_hw.host.inventory import functions
from vfio_hw.host.iommu import EXTENDED_ATS, extended_capabilities
from vfio_hw.host.pci import PciFunction

_VIRTIO_RNG = "1AF4:1044"
_PROMPT = 10.0


def has_ats(function: PciFunction) -> bool:
    """Whether it has address translation services."""
    return EXTENDED_ATS in extended_capabilities(function.path)


@pytest.fixture
def bound(pytestconfig: pytest.Config) -> Iterator[dict[str, PciFunction]]:
    """``with_ats``, its ``sibling`` in the group, and one ``without``; bound to vfio-pci.

    :raises Unsupported: they are not there.
    """
    found = [each for each in functions(PCI_ID=_VIRTIO_RNG) if may_take(pytestconfig, each)]
    with_ats = next((each for each in found if has_ats(each)), None)
    if with_ats is None:
        raise Unsupported("no function that has ATS")
    others = {each.iommu_group == with_ats.iommu_group: each for each in found if each != with_ats}
    if len(others) != 2:
        raise Unsupported("a function with ATS, one of its group and one of another are needed")
    with contextlib.ExitStack() as stack:
        named = {"with_ats": with_ats, "sibling": others[True], "without": others[False]}
        yield {name: stack.enter_context(bound_to(each)) for name, each in named.items()}


@contextlib.contextmanager
def resetting(reset: Callable[[], Any]) -> Iterator[Future[Any]]:
    """A reset is begun inside, and is over after."""
    began = threading.Event()

    def run() -> Any:
        began.set()
        return reset()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run)
        assert began.wait(_PROMPT)
        yield future
        future.result(_PROMPT)


def timed(act: Callable[[], object]) -> Callable[[], tuple[float, float]]:
    """The act, which tells a moment before it began and one after it was over."""

    def run() -> tuple[float, float]:
        began = time.monotonic()
        act()
        return began, time.monotonic()

    return run


def answers(future: Future[Any], *acts: Callable[[], int]) -> list[int]:
    """What they answered in turn, again and again, for as long as the reset took."""
    turns = itertools.cycle(acts)
    said = []
    while not future.done():
        said.append(next(turns)())
    return said
