"""What must hold after every test, on any kernel: each oracle judges one side of it."""

from vfio_hw.oracle.finding import Finding, Oracle
from vfio_hw.oracle.hangs import Hangs
from vfio_hw.oracle.kernel_log import KernelLog
from vfio_hw.oracle.leaks import Leaks


class Oracles:
    """All oracles, asked in an order in which each also sees what the others caused."""

    def __init__(self) -> None:
        self._log = KernelLog()
        self._oracles: tuple[Oracle, ...] = (Hangs(), Leaks(), self._log)

    def before(self, test: str) -> None:
        """The test of this name is about to begin."""
        for oracle in reversed(self._oracles):
            oracle.before(test)

    def after(self) -> list[Finding]:
        """Everything that is wrong after the test; the kernel log is read last."""
        return [finding for oracle in self._oracles for finding in oracle.after()]

    def close(self) -> None:
        """No more tests."""
        self._log.close()


__all__ = ["Finding", "Oracle", "Oracles"]
