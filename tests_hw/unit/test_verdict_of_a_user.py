"""This file checks what skips a user's tests: what is root's, and nothing that VFIO says."""

import errno

import pytest

from vfio_hw.errors import KernelRefused
from vfio_hw.verdict import skips


def denied(path: str | None) -> PermissionError:
    return PermissionError(errno.EACCES, "Permission denied", path)


@pytest.mark.parametrize("path", ["/sys/kernel/debug/vfio", "/proc/sysrq-trigger", "/tmp/x/node"])
def test_a_file_that_is_root_s_skips_a_user_s_test_and_not_root_s(monkeypatch, path):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert skips(denied(path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert not skips(denied(path))


@pytest.mark.parametrize(
    "error",
    [
        denied("/dev/vfio/7"),
        denied(None),
        KernelRefused(errno.EPERM, "VFIO_SET_IOMMU", "container"),
        KernelRefused(errno.EACCES, "open", "/sys/x"),
        OSError(errno.ENOENT, "No such file", "/sys/x"),
    ],
)
def test_what_the_kernel_denies_of_vfio_skips_nobody_s_test(monkeypatch, error):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert not skips(error)
