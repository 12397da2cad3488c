"""What every command needs that runs hardware tests: pytest's line, a place for the record."""

import datetime
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vfio_hw import guest, plan
from vfio_hw.errors import HarnessError
from vfio_hw.plan import Plan
from vfio_hw.report.events import PORT
from vfio_hw.trust import led_by_others
from vfio_hw.vm.machine import Guest

PROJECT = Path(__file__).parents[1]

_COLLECTING = 300.0  # seconds; two suffice on an idle machine


def pytest_line(
    *,
    seed: int,
    race_budget: float | None = None,
    devices: Sequence[str] = (),
    selection: Sequence[str] = (),
    events: Path = PORT,
) -> list[str]:
    """Runs the selected hardware tests, or all of them.

    :param race_budget: seconds for each race; None: pytest's own default.
    :param devices: PCI addresses; none: all functions of known kinds.
    :param selection: files, names, and options of pytest.
    :param events: where pytest writes its events.
    """
    # One word for option and value: what pytest does not know yet when it looks for its root, it
    # takes for a file.
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no"]
    # It imports all of Hypothesis when the last test is over, for which a guest needs seconds.
    line += ["-p", "no:hypothesispytest"]
    # A guest's tests are one after the other: what else would judge the kernel in between?
    line += ["-p", "no:xdist", "-p", "no:xdist.looponfail"]
    line += [f"--events={events}", f"--seed={seed}"]
    line += ["--ignore=tests_hw/unit", "--ignore=tests_hw/harness"]
    line += ["--ignore=tests_hw/host"]  # they need a machine of their own
    if race_budget is not None:
        line.append(f"--race-budget={race_budget}")
    line += [f"--device={address}" for address in devices]
    return [*line, *selection]


def planned(line: Sequence[str], release: str) -> Plan:
    """Collect the tests that ``line`` selects, for a guest whose kernel is of this release.

    Their bytecode is in the checkout then, if it can be written. What a guest would write is gone
    with it, and an emulated processor needs longer to compile all tests than to run most of them.

    :returns: no tests when they can not be collected: a guest, which tries to, tells why.
    :raises HarnessError: it takes minutes.
    """
    command = [word for word in line if not word.startswith("--events=")]
    # Set in many containers, where it spares the image and costs every guest half a minute.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(prefix="vfio-hw-") as directory:
        file = Path(directory, "plan")
        own = ["-p", "vfio_hw.planning", f"--plan={file}", f"--release={release}"]
        try:
            subprocess.run(
                [*command, *own, "--collect-only", "-qq"],
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_COLLECTING,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise HarnessError(
                f"pytest did not collect the tests within {_COLLECTING:g} s: give this machine less"
                " to do"
            ) from None
        return plan.read(file) if file.exists() else Plan()


def with_plan(machine: Guest, line: Sequence[str], release: str, out: Path) -> tuple[Guest, Plan]:
    """The guest that runs ``line``, told in ``out`` what to run, and with the files it needs."""
    line = [*line, f"--machine={machine.topology.name}"]
    if not machine.topology.reports_faults:
        line.append("--unreported-faults")
    found = planned(line, release)
    file = out / "plan.json"
    found.write(file)
    # What a failure says is in its event. A summary would say it again, at the speed of a serial
    # port; only where tests could not be collected is it needed, to tell why.
    argv = [*line, f"--planned={file}", "--no-summary"] if found.tests else list(line)
    return replace(machine, argv=argv, packed=tuple(map(Path, found.files))), found


def results_directory(wanted: Path | None, prefix: str = "") -> Path:
    """A new directory for the record: the wanted one, or results/PREFIX and the time.

    :raises HarnessError: it exists already, can not be made, a guest would not see it, or others
        could put another one in its place.
    """
    stamp = prefix + datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    # Two runs may begin in the same second.
    names = [stamp, *(f"{stamp}-{number}" for number in range(2, 100))]
    for out in (
        [guest.visible(wanted)] if wanted else [PROJECT / "results" / name for name in names]
    ):
        _must_be_let_alone(out)
        try:
            _make_parents(out)
            out.mkdir(mode=0o755)
        except FileExistsError:
            continue
        except PermissionError as error:
            raise HarnessError(
                f"the results can not be kept in {out}: {error.strerror}; name another directory"
                " with --results"
            ) from None
        try:
            _must_be_let_alone(out)  # also what was not yet there
        except HarnessError:
            out.rmdir()
            raise
        return out
    raise HarnessError(f"{wanted} exists already: name a new directory with --results")


def _make_parents(out: Path) -> None:
    """So that nobody else can put a link there, whatever this user's umask is."""
    for parent in reversed(out.parents):
        try:
            parent.mkdir(mode=0o755, exist_ok=True)
        except FileExistsError:
            raise HarnessError(
                f"the results can not be kept in {out}: {parent} is no directory; name another"
                " place with --results"
            ) from None


def _must_be_let_alone(out: Path) -> None:
    if reason := led_by_others(out.parent):
        raise HarnessError(
            f"the results can not be kept in {out}: {reason}, so others could lead them elsewhere;"
            " name with --results a directory below those of this user or root, or in /tmp"
        )
