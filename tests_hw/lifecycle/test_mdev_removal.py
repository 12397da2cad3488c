"""This file checks that a mediated device is removed once, and by who says so (P1, P3).

Source: Documentation/ABI/testing/sysfs-bus-vfio-mdev, remove; remove_store() in
drivers/vfio/mdev/mdev_sysfs.c. A file of sysfs whose object is gone says ENODEV to who has it open.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vfio_hw.fixtures import Target
from vfio_hw.host.blocking import BlockingWrite
from vfio_hw.host.forked import forked
from vfio_hw.host.mdev import type_by_id
from vfio_hw.host.sysfs import link_name
from vfio_hw.vfio.opened import opened

WATCHED, PROMPT = 0.3, 5.0


@pytest.fixture(params=["mtty", "mdpy", "mbochs"])
def target(request) -> Target:
    """A mediated device of each parent, whose end the test is about."""
    mdev = request.getfixturevalue(request.param)
    return Target(request.param, mdev.uuid, mdev.path, mdev)


@contextlib.contextmanager
def kept(path: Path) -> Iterator[int]:
    """The attribute is open for writing inside, whatever becomes of it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def written_errno(descriptor: int, text: str) -> int:
    """The write is made by a fork: a kernel that waits in it is told as one that hangs."""
    reader, writer = os.pipe()

    def write(ready: Callable[[], None]) -> None:
        try:
            os.write(descriptor, text.encode())
            answer = 0
        except OSError as error:
            answer = error.errno or 0
        os.write(writer, bytes([answer]))
        ready()

    with os.fdopen(reader, "rb") as answers, os.fdopen(writer, "wb"), forked(write):
        return answers.read(1)[0]


@pytest.mark.promise("P3")
def test_a_device_that_was_removed_is_not_removed_again(target: Target):
    """Nor is what has its UUID by then: the file is that of the device, not of the name."""
    kind = type_by_id(link_name(target.path / "mdev_type") or "")
    instances = kind.available_instances
    with kept(target.path / "remove") as again:
        target.handle.remove()
        assert written_errno(again, "1") == errno.ENODEV
        assert not target.path.exists()
        assert kind.available_instances == instances + 1
        successor = kind.create(target.name)
        try:
            assert written_errno(again, "1") == errno.ENODEV
            assert successor.exists
            assert kind.available_instances == instances
        finally:
            successor.remove()


@pytest.mark.promise("P1")
def test_a_second_removal_is_refused_while_the_first_one_waits(target: Target):
    """At once, whichever way it comes; the first one ends as if it were alone."""
    with (
        kept(target.path / "remove") as again,
        opened(target.path, "vfio_type1v2_iommu") as user,
        target.removal() as first,
    ):
        assert first.wait(WATCHED) is None, "the device went while it was open"
        assert written_errno(again, "1") == errno.ENODEV
        with BlockingWrite(target.path / "remove", "1") as second:
            assert second.wait(PROMPT) in (errno.ENOENT, errno.ENODEV)
        assert first.wait(0.0) is None
        assert user.device.info_errno() == 0
        user.device.close()
        first.must_return(PROMPT)


@pytest.mark.promise("P8")
@pytest.mark.parametrize(("text", "answer"), [("0", 0), ("no", errno.EINVAL), ("-1", errno.EINVAL)])
def test_only_a_number_but_zero_removes(target: Target, text, answer):
    with kept(target.path / "remove") as file:
        assert written_errno(file, text) == answer
        assert target.path.exists()
        with opened(target.path, "vfio_type1v2_iommu") as user:
            assert user.device.info_errno() == 0
