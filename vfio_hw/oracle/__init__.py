"""What must hold after every test, on any kernel: each oracle judges one side of it."""

from vfio_hw.oracle.finding import Finding, Oracle
from vfio_hw.oracle.hangs import Hangs
from vfio_hw.oracle.kernel_log import KernelLog
from vfio_hw.oracle.leaks import Leaks


class Oracles:
    """All oracles, asked in an order in which each also sees what the others caused."""

    def __init__(self, *, since_boot: bool = False) -> None:
        """Begin to listen.

        :param since_boot: what the kernel has logged so far is judged too, with the first test.
        """
        self._hangs, self._leaks = Hangs(), Leaks()
        self._log = KernelLog(since_boot=since_boot)

    def before(self, test: str) -> None:
        """The test of this name is about to begin."""
        oracles: tuple[Oracle, ...] = (self._log, self._leaks, self._hangs)
        for oracle in oracles:
            oracle.before(test)

    def after(self) -> list[Finding]:
        """Everything that is wrong after the test; the kernel log is read last.

        While something hangs the kernel holds locks, so that reading sysfs could hang too, and
        what is not given back says nothing new: then leaks are not looked for.
        """
        hanging = self._hangs.after()
        leaking = [] if hanging else self._leaks.after()
        return hanging + leaking + self._log.after()

    def close(self) -> list[Finding]:
        """No more tests: what the kernel has logged since the last one."""
        findings = self._log.after()
        self._log.close()
        return findings


__all__ = ["Finding", "Oracle", "Oracles"]
