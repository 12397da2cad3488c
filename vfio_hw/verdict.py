"""What becomes of a test: the verdict table, for exceptions and for the reports of its phases."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from vfio_hw.errors import HarnessError, KernelRefused, KernelSplat, Unsupported
from vfio_hw.host import blocking, lock
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.promise import Promise
from vfio_hw.oracle import Faults, Finding
from vfio_hw.order import kinds
from vfio_hw.report.events import WRITES, Result
from vfio_hw.uapi import calls


@dataclass
class Course:
    """How a test has gone so far."""

    reports: list[pytest.TestReport] = field(default_factory=list)
    blamed: set[str] = field(default_factory=set)
    splat: KernelSplat | None = None
    findings: list[Finding] = field(default_factory=list)
    oracles: dict[str, float] = field(default_factory=dict)
    """Seconds that they took of a phase."""

    @property
    def unusable(self) -> bool:
        """Whether the kernel is not to be given another test."""
        return bool(self.findings) or (self.splat is not None and self.splat.oracle == "hang")

    @property
    def called(self) -> bool:
        """Whether the test's own function ran to its end."""
        return any(report.when == "call" and report.passed for report in self.reports)

    @contextlib.contextmanager
    def looking(self, phase: str) -> Iterator[None]:
        """The oracles look inside, in a phase of the test."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.oracles[phase] = time.monotonic() - began

    def _phases(self) -> dict[str, float]:
        took: dict[str, float] = {str(report.when): report.duration for report in self.reports}
        for phase, seconds in self.oracles.items():
            took[phase] = max(0.0, took.get(phase, 0.0) - seconds)
        took["oracles"] = sum(self.oracles.values())
        took.update({f"{WRITES}{name}": seconds for name, seconds in blocking.took().items()})
        return {phase: round(seconds, 3) for phase, seconds in took.items()}

    def take(self, report: pytest.TestReport, error: BaseException | None) -> None:
        """One phase of the test has ended, with this exception."""
        if isinstance(error, KernelSplat):
            self.splat = self.splat or error
        if report.failed:
            self.blamed.add(blamed(error, report.when or "call"))
        self.reports.append(report)

    def result(self, item: pytest.Item, seconds: float) -> Result:
        """The test's result; what it judged counts when it passed."""
        bad = [report for report in self.reports if report.failed]
        if bad:
            verdict = "failed" if "kernel" in self.blamed else "error"
            text = "\n\n".join(report.longreprtext for report in bad)
        elif skipped := [report for report in self.reports if report.skipped]:
            verdict, text = "skipped", _reason(skipped[0])
        else:
            verdict, text = "passed", ""
        oracle = self.splat.oracle if self.splat else ("assertion" if bad else "")
        titles = [f"{finding.oracle}: {finding.title}" for finding in self.findings]
        # Beside what an oracle has found, what the test itself says would go unread.
        titles += [_said(report) for report in bad if titles and report.when != "teardown"]
        made = calls.taken()
        used, devices = kinds(item), lock.used()
        judged = {"kinds": used, **made} if made and verdict == "passed" else {}
        about = {"kinds": used, "devices": devices}
        properties: dict[str, object] = {key: what for key, what in about.items() if what}
        properties |= dict(item.user_properties)
        return Result(
            item.nodeid,
            verdict,
            round(seconds, 3),
            text,
            oracle,
            properties,
            titles,
            judged,
            self._phases(),
        )


def skips(error: BaseException | None) -> bool:
    """Whether the exception skips the test: a capability is not there, and nobody promised it.

    The configuration of the running kernel promises: what was asked for and built in must be there;
    so does its release, where the exception names one.
    What only root may do no ordinary user tests.
    """
    if _of_root(error):
        return True
    if not isinstance(error, Unsupported):
        return False
    if error.option is None and error.since is None:
        return True
    return not Promise(error.option or "", error.since or "").holds()


def _of_root(error: BaseException | None) -> bool:
    """An ordinary user was kept from a file that is root's; what VFIO itself denies is judged."""
    return (
        os.geteuid() != 0
        and isinstance(error, PermissionError)
        and not isinstance(error, KernelRefused)
        # Of a mapping, say, it has no name.
        and error.filename is not None
        and not str(error.filename).startswith("/dev/")
    )


def blamed(error: BaseException | None, when: str) -> str:
    """Whom an exception in a phase (setup, call, teardown) speaks of: the kernel or the harness."""
    if isinstance(error, (KernelSplat, KernelRefused, AssertionError, Unsupported)):
        return "kernel"
    if isinstance(error, pytest.fail.Exception):
        return "kernel"
    # An errno that a test did not expect is an answer of the kernel's.
    return "kernel" if isinstance(error, OSError) and when == "call" else "harness"


def faults_of(item: pytest.Item, *, ran: bool) -> Faults:
    """What a test has declared of IOMMU faults.

    One that did not run to its end owes none, nor does any where the IOMMU does not report them.
    """
    if item.get_closest_marker("iommu_faults") is None:
        return Faults.NONE
    return Faults.MUST if ran and not item.config.option.unreported_faults else Faults.MAY


def _said(report: pytest.TestReport) -> str:
    """The words of an exception that ended a phase of a test, in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    words = crash.message if crash else report.longreprtext
    return f"assertion: {' '.join(words.split())}"


def faulty_device(item: pytest.Item) -> tuple[str | None, tuple[str, ...]]:
    """Of a test that has declared IOMMU faults: by which PCI function, and in which directions.

    The address of the function is None when the test did not get it; directions, "read" and
    "write", are those of which each must be reported.
    """
    marker = item.get_closest_marker("iommu_faults")
    if marker is None:
        return None, ()
    given = getattr(item, "funcargs", {}).get(marker.args[0])
    function = getattr(given, "handle", given)
    address = function.address if isinstance(function, PciFunction) else None
    return address, tuple(marker.args[1:])


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return report.longreprtext


def session_result(test: str, findings: Sequence[Finding]) -> Result:
    """The result for what the kernel did outside of every test."""
    titles = [f"{finding.oracle}: {finding.title}" for finding in findings]
    text = "\n\n".join(map(str, findings))
    return Result(test, "failed", 0.0, text, findings[0].oracle, {}, titles)


def memory_results(whose: str, scan: Callable[[], Mapping[str, list[Finding]]]) -> Iterator[Result]:
    """The results for memory that tests have lost; none when all is well.

    :param whose: the tests for which the scan is made.
    :param scan: what it finds, by whose tests.
    """
    try:
        for tests, findings in scan().items():
            yield session_result(f"{tests}, memory", findings)
    except HarnessError as error:
        yield Result(f"{whose}, memory", "error", 0.0, str(error))
