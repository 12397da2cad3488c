"""The pytest plugin: options, oracles round every test, and the verdict that becomes of it.

A test outside ``unit`` drives a real device, so it is judged by the oracles too: what they find
fails the test in which it happened.
"""

import os
import time
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

import pytest

from vfio_hw import options, order
from vfio_hw.choice import Choice
from vfio_hw.errors import HarnessError, KernelSplat
from vfio_hw.here import session
from vfio_hw.host import guest, modules, writer
from vfio_hw.host.text import printable_lines
from vfio_hw.oracle import Finding, Oracles
from vfio_hw.port import port_of
from vfio_hw.race import hang
from vfio_hw.report.events import Event, send
from vfio_hw.report.known import known_finds
from vfio_hw.verdict import Course, faults_of, faulty_device, memory_results, session_result, skips
from vfio_hw.watchdog import Watchdog, deadline_for
from vfio_hw.watchdog.evidence import of_a_hang
from vfio_hw.watchdog.log import Log

IN_GUEST = modules.IN_GUEST
_SCAN_EVERY = 25  # tests, when they do not come file by file
_FIRST_MODULES = ("vfio-pci", "vfio_iommu_type1", "iommufd", "mtty", "mdpy", "mbochs")


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    guest.disbelieve()
    config.addinivalue_line("markers", "promise(name): the promise, P1 to P9, that it defends")
    config.addinivalue_line(
        "markers",
        "iommu_faults(fixture, *directions): the fixture's PCI function reaches for memory not"
        " mapped for it; the IOMMU must report it, each read or write named, and of no other",
    )
    config.addinivalue_line(
        "markers", "machine(name): of fixtures/machines; on another one the test is left out"
    )
    if config.option.seed is None:
        config.option.seed = int.from_bytes(os.urandom(4), "little")
    judge = _Judge(config)
    config.pluginmanager.register(judge, "vfio-hw-judge")
    config.pluginmanager.register(Choice(config, judge.say, judge.begin), "vfio-hw-choice")


def pytest_report_header(config: pytest.Config) -> str:
    return f"vfio-hw: kernel {os.uname().release}, seed {config.option.seed}"


def drives_hardware(item: pytest.Item) -> bool:
    """Whether a test needs the real /dev/vfio: all do, except those of the harness itself."""
    own = (item.config.rootpath / "tests_hw" / name for name in ("unit", "harness", "host"))
    return not any(item.path.is_relative_to(directory) for directory in own)


def deadline_of(config: pytest.Config) -> float:
    """Seconds after which a test counts as hung."""
    given: float | None = config.option.test_deadline
    return given or deadline_for(config.option.race_budget)


class _Judge:
    """Gives each hardware test its oracles, and tells the outside of every verdict."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._port = port_of(config)
        self._oracles: Oracles | None = None
        self._watchdog: Watchdog | None = None
        self._here: session.Session | None = None
        self._course = Course()
        self._last = ""
        self._ran = 0
        self._finds = known_finds()
        self._release = os.uname().release

    def say(self, event: Event) -> None:
        """Tell the outside."""
        if self._port:
            send(self._port, event)

    def begin(self, items: Sequence[pytest.Item]) -> None:
        """The first tests are there: be ready when one of them drives hardware."""
        if self._oracles is None and any(drives_hardware(item) for item in items):
            try:
                self._begin()
            except KernelSplat:
                raise
            except HarnessError as error:
                raise pytest.UsageError(printable_lines(str(error))) from None

    def _begin(self) -> None:
        option, in_guest = self._config.option, bool(os.environ.get(IN_GUEST))
        if not in_guest:
            # Before the process that writes to sysfs, which keeps the machine's lock.
            self._here = session.Session(option.device, option.force, trusting=option.after_splat)
            self._config.add_cleanup(self._here.close)
        self._watchdog = Watchdog(
            deadline_of(self._config),
            # Which it keeps open, and has alone where there is a quicker one.
            Path(option.events) if option.events else None,
            supervised=in_guest and self._port is not None,
            distrust=session.distrust,
        )
        self._config.add_cleanup(self._watchdog.stop)
        hang.witnesses[:] = [partial(of_a_hang, Log())]
        writer.ready()
        # Before the modules, so that what their loading says is heard.
        self._oracles = Oracles(alone=in_guest)
        try:
            if in_guest:
                modules.load_available(_FIRST_MODULES)
        except KernelSplat as error:
            finding = Finding(error.oracle, str(error).partition("\n")[0], str(error))
            self.say(session_result("loading the modules", [finding]).as_event())
            pytest.exit(str(error), returncode=int(pytest.ExitCode.TESTS_FAILED))
        if not Path("/dev/vfio/vfio").exists() and not Path("/dev/iommu").exists():
            raise pytest.UsageError("this kernel has no VFIO: load the module vfio first")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(
        self, item: pytest.Item, nextitem: pytest.Item | None
    ) -> Generator[None, object, object]:
        self._course, began = Course(), time.monotonic()
        if self._here:
            self._here.began(item.nodeid)
        self.say({"event": "started", "test": item.nodeid})
        if self._watchdog:
            self._watchdog.began(item.nodeid)
        result = yield
        seconds = time.monotonic() - began
        if self._watchdog and not self._watchdog.ended():
            item.session.shouldstop = "the watchdog has taken the test for hung"
            return result
        self.say(self._course.result(item, seconds).as_event())
        self._last = item.nodeid
        if self._course.unusable:
            text = f"the kernel is not to be trusted after {item.nodeid}"
            self.say({"event": "unusable", "text": text})
            if self._here:
                self._here.distrust(text)
            if not self._config.option.after_splat:
                item.session.shouldstop = text
        self._scan_memory(item, nextitem)
        return result

    def _scan_memory(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Where a file's tests end, or a stretch of them: look for memory that is lost.

        In an order of its own files take turns: then after so many tests, and at the end of all.
        """
        self._ran += 1
        if self._config.option.order:
            whose = f"{_SCAN_EVERY} tests up to {item.nodeid}"
            due, last = nextitem is None or self._ran % _SCAN_EVERY == 0, True
        else:
            whose = item.nodeid.partition("::")[0]
            due = nextitem is None or nextitem.path != item.path
            # What shows a known find may end this kernel, and with it all that was not yet found.
            last = nextitem is None or order.known_to_fail(nextitem, self._release, self._finds)
        ending = item.session.shouldstop or item.session.shouldfail
        if (oracles := self._oracles) and drives_hardware(item) and due and not ending:
            for result in memory_results(whose, lambda: oracles.scan_memory(whose, last=last)):
                self.say(result.as_event())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        if self._oracles and drives_hardware(item):
            with self._course.looking("setup"):
                self._oracles.before(item.nodeid, faults=faults_of(item, ran=False))
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            if self._oracles and drives_hardware(item):
                faults, (of, each) = faults_of(item, ran=self._course.called), faulty_device(item)
                with self._course.looking("teardown"):
                    findings = self._oracles.after(faults=faults, of=of, each=each)
                    findings = self._here.judged(findings) if self._here else findings
                self._course.findings = findings
                if findings:
                    raise KernelSplat("\n\n".join(map(str, findings)), oracle=findings[0].oracle)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        error = call.excinfo.value if call.excinfo else None
        if skips(error):
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {error}")
        self._course.take(report, error)
        return report

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        # pytest calls whatever fails outside the test's own function an error of the test.
        if report.failed and report.when != "call" and "kernel" in self._course.blamed:
            return "failed", "F", "FAILED"
        return None

    def pytest_sessionfinish(self) -> None:
        if self._oracles and (findings := self._oracles.close()):
            self.say(session_result(f"after {self._last}", findings).as_event())
