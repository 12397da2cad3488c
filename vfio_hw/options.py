"""The options that pytest has for the hardware tests."""

import pytest

from vfio_hw.watchdog import RACE_BUDGET


def add(parser: pytest.Parser) -> None:
    """Add them, in a group of their own."""
    group = parser.getgroup("vfio-hw")
    group.addoption(
        "--device",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="PCI function that the tests may take from its driver (0000:3b:00.0); repeatable."
        " In a guest of ours all functions of known kinds are taken.",
    )
    group.addoption("--seed", type=int, help="seed of all random choices (default: a new one)")
    group.addoption(
        "--race-budget",
        type=float,
        default=RACE_BUDGET,
        metavar="SECONDS",
        help="time that each race may take (default: %(default)s)",
    )
    group.addoption(
        "--test-deadline",
        type=float,
        metavar="SECONDS",
        help="time after which a test counts as hung (default: 60 and 4 times --race-budget)",
    )
    group.addoption("--events", metavar="PATH", help="where events are written, one a line")
    group.addoption("--left", metavar="FILE", help="file of the tests that are to be run, no other")
    group.addoption(
        "--quick", action="store_true", help="each test once, with parameters drawn by the seed"
    )
    group.addoption("--after-splat", action="store_true", help="go on after the kernel's faults")
    group.addoption("--force", action="append", default=[], help="address to be taken in use too")
    group.addoption("--fatal", action="store_true", help="also tests that spoil this kernel")
    group.addoption("--order", metavar="FILE", help="file that says which tests come first")
    group.addoption("--machine", metavar="NAME", help="of fixtures/machines, on which this runs")
    group.addoption(
        "--unreported-faults",
        action="store_true",
        help="the IOMMU does not report faults: tests that cause some owe no report of them",
    )
    group.addoption("--planned", metavar="FILE", help="file of the tests that a host has collected")
    group.addoption("--release", help="of the kernel that they are collected for (default: this)")
