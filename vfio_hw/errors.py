"""The five ways in which this package fails on purpose, and what each one says of the kernel."""

import errno as _errno
import os


class HarnessError(Exception):
    """The harness or the machine is at fault; says what was tried, on what, and what to do."""


class Unsupported(HarnessError):
    """The kernel, the device or the machine lacks a capability: reported as a skip.

    :param option: the kernel option that promises it; where the running kernel was built with
        that option the promise is broken, and that is reported as a failure.
    :param since: the release that promises it, in the same way; with an option both have to.
    """

    def __init__(self, text: str, *, option: str | None = None, since: str | None = None) -> None:
        super().__init__(text)
        self.option = option
        self.since = since


class KernelRefused(HarnessError, OSError):
    """The kernel answered a call with an errno, which is kept untouched.

    :param number: the errno.
    :param call: what was asked, in the words of the header (``VFIO_IOMMU_MAP_DMA``).
    :param target: what it was asked of (``container``, a path, a device name).
    """

    def __init__(self, number: int, call: str, target: str) -> None:
        OSError.__init__(self, number, os.strerror(number))
        self.call = call
        self.target = target

    def __str__(self) -> str:
        number = self.errno or 0
        name = _errno.errorcode.get(number, str(number))
        return f"{self.call} on {self.target}: {name} ({os.strerror(number)})"


class MachineLost(HarnessError):
    """The machine under test stopped answering: it panicked, hung, or never booted."""


class KernelSplat(HarnessError):
    """The kernel was found at fault: a splat in its log, a leak, a call that hangs.

    :param oracle: what found it; after ``hang`` no further test is given to this kernel.
    """

    def __init__(self, text: str, *, oracle: str) -> None:
        super().__init__(text)
        self.oracle = oracle
