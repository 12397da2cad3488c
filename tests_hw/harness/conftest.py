"""Guests for the tests of the harness itself, which run on the host."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests_hw.harness.booting import run
from vfio_hw.vm import kernels
from vfio_hw.vm.machine import Deadlines, Guest, GuestRun
from vfio_hw.vm.topology import topology

PROJECT = Path(__file__).parents[2]
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "VFIO_HW_GUEST": "1"}


@pytest.fixture(scope="session")
def kernel() -> kernels.Kernel:
    """The reference kernel, built when it is not in the cache."""
    return kernels.get("latest", say=print)


@pytest.fixture
def guest(kernel) -> Callable[[list[str]], Guest]:
    """Makes a guest that runs a command under TCG, the same on every host."""

    def make(argv: list[str]) -> Guest:
        return Guest(
            image=kernel.image,
            modules=kernel.modules,
            topology=topology("intel-iommu"),
            argv=argv,
            cwd=Path("/"),
            environment=ENVIRONMENT,
        )

    return make


@pytest.fixture
def ran(guest, tmp_path) -> Callable[..., GuestRun]:
    """Runs a shell script in a guest."""

    def do(script: str, **deadlines: float) -> GuestRun:
        limits = Deadlines(**{"whole": 60.0, **deadlines})
        return run(guest(["sh", "-c", script]), tmp_path / "out", deadlines=limits)

    return do


@pytest.fixture
def machine(kernel, tmp_path):
    """Makes guests of the machine `host`; their disks outlive them."""

    def make(*argv: str, **environment: str) -> Guest:
        return Guest(
            image=kernel.image,
            modules=kernel.modules,
            topology=topology("host"),
            argv=argv,
            cwd=PROJECT,
            environment={**ENVIRONMENT, "LANG": "C.UTF-8", **environment},
            images=tmp_path / "images",
        )

    return make


@pytest.fixture
def python() -> str:
    """The interpreter of the environment, which a guest sees at the same path."""
    return sys.executable
