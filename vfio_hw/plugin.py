"""The pytest plugin: options, oracles round every test, and the verdict that becomes of it.

A test outside ``unit`` drives a real device, so it is judged by the oracles too: what they find
fails the test in which it happened.
"""

import json
import os
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError, KernelSplat, Unsupported
from vfio_hw.host import modules
from vfio_hw.host.pci import PciFunction
from vfio_hw.oracle import Finding, Oracles
from vfio_hw.report.events import Event, Result, remaining

# What our own first process sets in a guest: everything there is the harness's to take.
IN_GUEST = "VFIO_HW_GUEST"
_FIRST_MODULES = ("vfio-pci", "vfio_iommu_type1", "iommufd", "mtty", "mdpy", "mbochs")


def pytest_addoption(parser: pytest.Parser) -> None:
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
        default=3.0,
        metavar="SECONDS",
        help="time that each race may take (default: %(default)s)",
    )
    group.addoption("--events", metavar="PATH", help="where events are written, one a line")
    group.addoption("--finished", metavar="FILE", help="file of tests that are not run again")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "promise(name): the promise, P1 to P9, that the test defends"
    )
    if config.option.seed is None:
        config.option.seed = int.from_bytes(os.urandom(4), "little")
    config.pluginmanager.register(_Judge(config), "vfio-hw-judge")


def pytest_report_header(config: pytest.Config) -> str:
    return f"vfio-hw: kernel {os.uname().release}, seed {config.option.seed}"


def drives_hardware(item: pytest.Item) -> bool:
    """Whether a test needs the real /dev/vfio: all do, except those of the harness itself."""
    return not {"unit", "harness"} & set(item.path.parts)


class _Judge:
    """Gives each hardware test its oracles, and tells the outside of every verdict."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._port = Path(config.option.events) if config.option.events else None
        self._oracles: Oracles | None = None
        self._reports: list[pytest.TestReport] = []
        self._findings: list[Finding] = []
        self._splat: KernelSplat | None = None
        self._started = 0.0

    def _say(self, event: Event) -> None:
        if self._port is None:
            return
        descriptor = os.open(self._port, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            data = json.dumps(event).encode() + b"\n"
            while data:
                data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._config.option.finished:
            wanted = remaining(Path(self._config.option.finished), [item.nodeid for item in items])
            items[:] = [item for item in items if item.nodeid in set(wanted)]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.config.option.collectonly:
            return
        if any(drives_hardware(item) for item in session.items):
            _prepare_machine(self._config.option.device)
            self._oracles = Oracles()
        self._say(
            {
                "event": "session",
                "kernel": os.uname().release,
                "seed": self._config.option.seed,
                "tests": [item.nodeid for item in session.items],
            }
        )

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._reports, self._findings, self._splat = [], [], None
        self._started = time.monotonic()
        self._say({"event": "started", "test": item.nodeid})
        result = yield
        self._say(self._result(item).as_event())
        if self._findings or (self._splat and self._splat.oracle == "hang"):
            text = f"the kernel is not to be trusted after {item.nodeid}"
            self._say({"event": "unusable", "text": text})
            item.session.shouldstop = text
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        if self._oracles and drives_hardware(item):
            self._oracles.before(item.nodeid)
        return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            if self._oracles and drives_hardware(item):
                self._findings = self._oracles.after()
                if self._findings:
                    text = "\n\n".join(map(str, self._findings))
                    raise KernelSplat(text, oracle=self._findings[0].oracle)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        error = call.excinfo.value if call.excinfo else None
        if isinstance(error, Unsupported):
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {error}")
        elif isinstance(error, KernelSplat):
            self._splat = self._splat or error
        report.user_properties.append(("vfio_hw_blames", _blamed(error, call.when)))
        self._reports.append(report)
        return report

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if (
            report.failed
            and report.when != "call"
            and ("vfio_hw_blames", "kernel") in (report.user_properties)
        ):
            return "failed", "F", "FAILED"
        return None

    def _result(self, item: pytest.Item) -> Result:
        bad = [report for report in self._reports if report.failed]
        blames = {
            value
            for report in bad
            for key, value in report.user_properties
            if key == "vfio_hw_blames"
        }
        if bad:
            verdict = "failed" if "kernel" in blames else "error"
            text = "\n\n".join(report.longreprtext for report in bad)
        elif skipped := [report for report in self._reports if report.skipped]:
            verdict, text = "skipped", skipped[0].longreprtext
            if isinstance(skipped[0].longrepr, tuple):
                text = skipped[0].longrepr[2].removeprefix("Skipped: ")
        else:
            verdict, text = "passed", ""
        oracle = self._splat.oracle if self._splat else ("assertion" if bad else "")
        properties = {key: value for key, value in item.user_properties if key != "vfio_hw_blames"}
        seconds = round(time.monotonic() - self._started, 3)
        return Result(item.nodeid, verdict, seconds, text, oracle, properties)


def _blamed(error: BaseException | None, when: str) -> str:
    """Whom an exception speaks of: the kernel, or the harness and the machine."""
    if error is None or isinstance(error, Unsupported):
        return "nobody"
    if isinstance(error, (KernelSplat, AssertionError)):
        return "kernel"
    if isinstance(error, OSError) and when == "call":
        # An errno that the test did not expect is an answer of the kernel's.
        return "kernel"
    if isinstance(error, pytest.fail.Exception):
        return "kernel"
    return "harness"


def _prepare_machine(addresses: list[str]) -> None:
    if os.geteuid() != 0:
        raise pytest.UsageError(
            "hardware tests need root: use scripts/run, which runs them in a guest"
        )
    try:
        for address in addresses:
            PciFunction.at(address)
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    if os.environ.get(IN_GUEST):
        for name in _FIRST_MODULES:
            try:
                modules.load(name)
            except Unsupported:
                continue  # the tests that need it say so, each with its own reason
    if not Path("/dev/vfio/vfio").exists() and not Path("/dev/iommu").exists():
        raise pytest.UsageError("this kernel has no VFIO: load the module vfio, or use scripts/run")
