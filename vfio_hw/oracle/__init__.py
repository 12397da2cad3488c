"""What must hold after every test, on any kernel: each oracle judges one side of it."""

from collections.abc import Sequence

from vfio_hw.errors import HarnessError
from vfio_hw.oracle.finding import Finding
from vfio_hw.oracle.hangs import Hangs
from vfio_hw.oracle.iommu_faults import Faults
from vfio_hw.oracle.kernel_log import KernelLog
from vfio_hw.oracle.kmemleak import Kmemleak
from vfio_hw.oracle.leaks import Leaks


class Oracles:
    """All oracles, asked in an order in which each also sees what the others caused."""

    def __init__(self, *, alone: bool = False) -> None:
        """Begin to listen.

        :param alone: nobody else uses this machine, as in a guest of ours: what the kernel has
            logged since it booted is judged too, with the first test, and so is what the machine
            holds as a whole.
        """
        self._hangs, self._leaks = Hangs(), Leaks(alone=alone)
        self._log = KernelLog(since_boot=alone)
        self._kmemleak = Kmemleak()
        self._told = ""

    def before(self, test: str, *, faults: Faults = Faults.NONE) -> None:
        """The test of this name is about to begin; ``faults``: of an IOMMU, that it declares."""
        self._log.before(test, faults=faults)
        for oracle in (self._leaks, self._hangs):
            oracle.before(test)

    def after(
        self, *, faults: Faults = Faults.NONE, of: str | None = None, each: Sequence[str] = ()
    ) -> list[Finding]:
        """Everything that is wrong after the test; the kernel log is read last.

        While something hangs the kernel holds locks, so that reading sysfs could hang too, and
        what is not given back says nothing new: then leaks are not looked for.

        :param of: the PCI address of the device whose faults are declared.
        :param each: "read", "write": a fault of each must come; empty: one, whichever.
        :raises HarnessError: a part of the kernel that looks for faults has ceased to; told once.
        """
        hanging = self._hangs.after()
        leaking = [] if hanging else self._leaks.after()
        found = hanging + leaking + self._log.after(faults=faults, of=of, each=each)
        if not found and self._log.silenced != self._told:
            self._told = self._log.silenced
            raise HarnessError(self._told)
        return found

    def scan_memory(self, whose: str, *, last: bool) -> dict[str, list[Finding]]:
        """Memory that was lost, by whose tests; takes seconds where the kernel can tell.

        :param whose: the tests since the scan before.
        :param last: no other scan follows, so that everything must be found now.
        """
        found = self._kmemleak.found(whose, last=last)
        # The kernel's own line about it is told by the objects, or was taken back.
        logged = [one for one in self._log.after() if not one.title.startswith("kmemleak:")]
        return found | {whose: found.get(whose, []) + logged} if logged else found

    def close(self) -> list[Finding]:
        """No more tests: what the kernel has logged since the last one."""
        findings = self._log.after()
        self._log.close()
        self._kmemleak.close()
        return findings


__all__ = ["Faults", "Finding", "Oracles"]
