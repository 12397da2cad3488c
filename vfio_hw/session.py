"""What every command needs that runs hardware tests: pytest's line, a place for the record."""

import contextlib
import datetime
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from vfio_hw import guest
from vfio_hw.errors import HarnessError
from vfio_hw.report.events import PORT

PROJECT = Path(__file__).parents[1]

_COMPILING = 60.0  # seconds; two suffice


def pytest_line(
    *,
    seed: int,
    race_budget: float | None = None,
    devices: Sequence[str] = (),
    selection: Sequence[str] = (),
) -> list[str]:
    """Runs the selected hardware tests, or all of them.

    :param race_budget: seconds for each race; None: pytest's own default.
    :param devices: PCI addresses; none: all functions of known kinds.
    :param selection: files, names, and options of pytest.
    """
    # One word for option and value: what pytest does not know yet when it looks for its root, it
    # takes for a file.
    line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no"]
    line += [f"--events={PORT}", f"--seed={seed}"]
    line += ["--ignore=tests_hw/unit", "--ignore=tests_hw/harness"]
    if race_budget is not None:
        line.append(f"--race-budget={race_budget}")
    line += [f"--device={address}" for address in devices]
    return [*line, *selection]


def compile_tests(line: Sequence[str]) -> list[Path]:
    """Let the bytecode of the tests that ``line`` selects be in the checkout, if it can be written.

    pytest writes it when it imports a test; what it writes in a guest is gone with the guest, and
    an emulated processor needs longer to compile all tests than to run most of them.

    :returns: the files that a guest will read when it runs them, for :attr:`Guest.packed`.
    """
    command = [word for word in line if not word.startswith("--events=")]
    # Set in many containers, where it spares the image and costs every guest half a minute.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryDirectory(prefix="vfio-hw-") as directory:
        imported = Path(directory, "imported")
        note = ["-p", "vfio_hw.imported", f"--imported={imported}", "--collect-only", "-qq"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [*command, *note],
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_COMPILING,
                check=False,  # whatever is wrong with the selection, the guest tells
            )
        return list(map(Path, imported.read_text().splitlines())) if imported.exists() else []


def collected(line: Sequence[str]) -> list[str]:
    """The tests that a line of pytest would run here, without running them; none when it fails."""
    command = [word for word in line if not word.startswith("--events=")]
    try:
        done = subprocess.run(
            [*command, "--collect-only", "-q"],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMPILING,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return []
    # The names come first, then an empty line and a summary.
    names = done.stdout.partition("\n\n")[0].splitlines()
    return names if done.returncode == 0 else []


def results_directory(wanted: Path | None, prefix: str = "") -> Path:
    """A new directory for the record: the wanted one, or results/PREFIX and the time.

    :raises HarnessError: it exists already, or a guest would not see it.
    """
    stamp = prefix + datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    # Two runs may begin in the same second.
    names = [stamp, *(f"{stamp}-{number}" for number in range(2, 100))]
    for out in (
        [guest.visible(wanted)] if wanted else [PROJECT / "results" / name for name in names]
    ):
        try:
            out.mkdir(parents=True)
        except FileExistsError:
            continue
        return out
    raise HarnessError(f"{wanted} exists already: name a new directory with --results")
