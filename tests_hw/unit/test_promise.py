"""This file checks what a kernel that lacks a thing is told: a skip, or a promise that it broke."""

import os
from types import SimpleNamespace

import pytest

from vfio_hw.devices.kinds import kind
from vfio_hw.errors import Unsupported
from vfio_hw.fixtures.interrupts import INDICES
from vfio_hw.fixtures.iommufd import GOOD, SINCE
from vfio_hw.host import kconfig
from vfio_hw.host.promise import Promise
from vfio_hw.uapi import lib
from vfio_hw.verdict import skips


@pytest.fixture
def kernel(monkeypatch):
    """A kernel 6.13 with one option set."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release="6.13.0-rc1+"))
    monkeypatch.setattr(kconfig, "options", lambda: frozenset({"CONFIG_SET"}))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("option", "since", "holds"),
    [
        (None, None, None),
        ("CONFIG_SET", None, True),
        ("CONFIG_OTHER", None, False),
        (None, "6.13", True),
        (None, "6.2", True),
        (None, "6.14", False),
        (None, "7.0", False),
        ("CONFIG_SET", "6.13", True),
        ("CONFIG_SET", "6.14", False),
        ("CONFIG_OTHER", "6.2", False),
    ],
)
def test_what_option_and_release_promise_is_no_reason_to_skip(option, since, holds):
    assert skips(Unsupported("it is not there", option=option, since=since)) is (not holds)
    if holds is not None:
        assert Promise(option or "", since or "").holds() is holds


def test_every_request_of_an_iommufd_is_promised_by_some_release():
    assert SINCE.keys() == GOOD.keys()


@pytest.mark.usefixtures("kernel")
def test_later_vectors_and_an_interrupt_may_be_promised_by_some_kernels_only():
    msix = kind("e1000e").interrupts[INDICES["MSIX"]]
    assert msix.resizes
    assert msix.resizes.holds()
    assert msix.there.holds()
    error = kind("edu").interrupts[INDICES["ERR"]]
    assert not error.there.holds()
    assert error.resizes is None
    assert error.flags == lib.VFIO_IRQ_INFO_EVENTFD | lib.VFIO_IRQ_INFO_NORESIZE
