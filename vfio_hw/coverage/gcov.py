"""Turns the counters that guests have sent into counts of lines, with the compiler's own gcov."""

import json
import tempfile
import zipfile
from pathlib import Path

from vfio_hw.coverage import collect
from vfio_hw.coverage.counts import Coverage, told
from vfio_hw.errors import HarnessError
from vfio_hw.report.events import Event
from vfio_hw.vm.kernels import Kernel, tools
from vfio_hw.vm.kernels.config import settings
from vfio_hw.vm.kernels.source import source_of

PLUGIN = "vfio_hw.coverage.plugin"
"""What pytest loads in the guest of a kernel that counts."""
ARCHIVE = "coverage.zip"
"""What a guest's directory holds of it: the newest counters, as the guest packed them."""

_SECONDS = 120.0


def counts(kernel: Kernel) -> bool:
    """Whether the kernel was built to count."""
    if kernel.config is None:
        return False
    return "CONFIG_GCOV_KERNEL" in settings(kernel.config.read_text())


def keep(directory: Path, event: Event) -> None:
    """Put the newest counters of a guest into its directory, in the place of the earlier ones."""
    partial = directory / f"{ARCHIVE}.partial"
    partial.write_bytes(collect.archive_of(event))
    partial.replace(directory / ARCHIVE)


def gathered(results: Path) -> Coverage:
    """What all guests of a results directory have counted.

    A module that no guest has loaded has sent nothing; its lines are there, and were not reached.

    :raises HarnessError: none has sent anything, or what the kernel was compiled from is gone.
    """
    archives = sorted(results.glob(f"guest-*/{ARCHIVE}"))
    if not archives:
        raise HarnessError(f"no guest of {results} has sent what it counted: see its console.log")
    tools.require([("gcov", "gcc")], "reading a kernel's counters")
    coverage, seen, built = Coverage(), set(), set()
    for archive in archives:
        with zipfile.ZipFile(archive) as file:
            for name in file.namelist():
                objects, counted = _object(Path(name), file.read(name))
                coverage.add(counted)
                seen.add(Path(name))
                built.add(objects)
    for path in (path for objects in built for path in objects.rglob("*.gcno")):
        counters = path.with_suffix(".gcda")
        if counters not in seen and collect.wanted(str(counters)):
            coverage.add(_object(counters, None)[1])
    return coverage


def _object(counters: Path, content: bytes | None) -> tuple[Path, Coverage]:
    """Where an object was compiled, and its lines; without counters it never ran.

    :raises HarnessError: the compiler's notes (.gcno) are not where the kernel was compiled, or
        are not of that kernel.
    """
    notes = counters.with_suffix(".gcno")
    if not notes.is_file():
        raise HarnessError(
            f"{notes} is gone, without which the kernel's counters can not be read: build that"
            " kernel again, and run it again"
        )
    doing = f"reading the counters of {counters}"
    with tempfile.TemporaryDirectory(prefix="vfio-hw-") as directory:
        place = Path(directory)
        (place / notes.name).symlink_to(notes)
        if content is not None:
            (place / counters.name).write_bytes(content)
        command: list[str | Path] = ["gcov", "--stdout", "--json-format", place / counters.name]
        try:
            document = json.loads(tools.run(command, doing, timeout=_SECONDS))
        except (HarnessError, ValueError) as error:
            raise HarnessError(
                f"{error}: build that kernel again, with the gcc that this gcov belongs to, and"
                " run it again"
            ) from error
    objects = Path(document["current_working_directory"])
    return objects, told(document, source_of(objects))
