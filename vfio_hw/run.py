"""`vfio-hw run`: boot a kernel, run the hardware tests in it, judge it, keep the record."""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from vfio_hw import guest
from vfio_hw.errors import HarnessError, MachineLost
from vfio_hw.oracle.splats import splats
from vfio_hw.report import terminal
from vfio_hw.report.events import EventLog, Result
from vfio_hw.report.known import Known, judged, known_finds, vanished
from vfio_hw.session import PROJECT, compile_tests, pytest_line, results_directory
from vfio_hw.vm import kernels
from vfio_hw.vm.kernels.config import settings
from vfio_hw.vm.machine import Deadlines, Guest
from vfio_hw.vm.supervisor import Supervised, Supervisor
from vfio_hw.watchdog import RACE_BUDGET, REPORT_SECONDS, deadline_for

OK, KERNEL_WRONG, USAGE, HARNESS_WRONG, INTERRUPTED = 0, 1, 2, 3, 130

# pytest.ExitCode: internal error, usage error, nothing collected (below: it ran to an end of its
# own); importing pytest would delay the verdict.
_PYTEST_INTERNAL, _PYTEST_USAGE, _PYTEST_NOTHING = 3, 4, 5


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``run``."""
    parser = commands.add_parser(
        "run",
        help="boot a kernel and run the hardware tests in it",
        description="Boots a kernel under QEMU with an emulated IOMMU, drives its /dev/vfio, races"
        " every use of a device against its removal, and judges the kernel.",
        epilog="Exit status: 0 all promises held; 1 the kernel broke one; 2 wrong usage; 3 the"
        " harness or the machine failed; 130 interrupted.",
    )
    guest.add_arguments(parser)
    _add_selection(parser)
    _add_judgement(parser)
    parser.set_defaults(function=run, takes_rest="options of pytest")


def _add_selection(parser: argparse.ArgumentParser) -> None:
    """Which tests run, on what."""
    parser.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="only this PCI function of the guest",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="each test once, with parameters that the seed draws: another part of the whole"
        " every time",
    )
    parser.add_argument("--seed", type=guest.whole, help="seed of all random choices")
    parser.add_argument(
        "selection",
        nargs="*",
        metavar="SELECTION",
        help="files, directories, FILE::TEST; after -- also options of pytest, such as -k WORDS"
        " (default: all hardware tests)",
    )


def _add_judgement(parser: argparse.ArgumentParser) -> None:
    """How long things may take, and what becomes of the verdict."""
    parser.add_argument(
        "--race-budget", type=guest.seconds, metavar="SECONDS", help="time that each race may take"
    )
    parser.add_argument(
        "--test-deadline",
        type=guest.seconds,
        metavar="SECONDS",
        help="time after which a test counts as hung (default: 60 and 4 times the race budget)",
    )
    parser.add_argument("--results", type=Path, metavar="DIRECTORY", help="where the record goes")
    parser.add_argument(
        "--most-lost",
        type=guest.whole,
        default=3,
        metavar="N",
        help="give up after so many guests died or could not be trusted any more (default: 3)",
    )
    parser.add_argument(
        "--strict-known",
        action="store_true",
        help="exit status 3 when a find of fixtures/known no longer happens on this kernel",
    )


def run(args: argparse.Namespace) -> int:
    """Run the tests and return the exit status."""
    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    finds = known_finds()
    deadline = args.test_deadline or deadline_for(args.race_budget or RACE_BUDGET)
    own = [f"--test-deadline={deadline}", *(["--quick"] if args.quick else [])]
    line = pytest_line(
        seed=seed,
        race_budget=args.race_budget,
        devices=args.device,
        selection=[*own, *args.selection, *args.rest],
    )
    machine, kernel = guest.described(args, line, terminal.say, PROJECT)
    compile_tests(line)
    out = results_directory(args.results)
    log = EventLog(out / "events.jsonl")
    supervisor = Supervisor(
        machine,
        out,
        log,
        deadlines=Deadlines(silence=deadline + REPORT_SECONDS, whole=4 * 3600.0),
        judge=lambda result: judged(result, kernel.release, finds),
        splats=splats,
        on_result=terminal.tell,
        on_output=lambda data: None,
        most_lost=args.most_lost,
    )
    try:
        _begin(log, machine, kernel, seed, out)
        supervised = supervisor.run()
        results = log.results()
    except KeyboardInterrupt:
        terminal.say(f"interrupted: the guest is gone; what was finished is in {out}")
        return INTERRUPTED
    except MachineLost as error:
        log.write({"event": "stopped", "text": str(error)})
        results = log.results()
        terminal.summary(results, out, [])
        if any(result.verdict == "failed" for result in results):
            print(f"vfio-hw: {error}", file=sys.stderr)
            return KERNEL_WRONG
        raise
    gone = _gone(results, kernel, finds)
    status = _ended(results, supervised, out)
    return HARNESS_WRONG if status == OK and gone and args.strict_known else status


def _gone(results: list[Result], kernel: kernels.Kernel, finds: Sequence[Known]) -> list[str]:
    """The known finds that no longer happen; says so."""
    options = settings(kernel.config.read_text()) if kernel.config else {}
    gone = vanished(results, kernel.release, finds, options)
    for name in gone:
        terminal.say(
            f"known find {name} no longer happens on {kernel.release}: see docs/finds/{name}.md"
        )
    return gone


def _begin(log: EventLog, machine: Guest, kernel: kernels.Kernel, seed: int, out: Path) -> None:
    log.write(
        {
            "event": "run",
            "kernel": kernel.release,
            "image": str(kernel.image),
            "accelerator": machine.accelerator,
            "machine": machine.topology.name,
            "seed": seed,
            "argv": machine.argv,
        }
    )
    under = machine.accelerator.upper()
    terminal.say(f"kernel {kernel.release} under {under}, seed {seed}, results in {out}")


def _last_words(output: Path) -> str:
    lines = output.read_text(errors="replace").strip().splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines[-1:] or ["no output"])[0]


def _ended(results: list[Result], supervised: Supervised, out: Path) -> int:
    terminal.summary(results, out, supervised.left)
    verdicts = {result.verdict for result in results}
    if "failed" in verdicts:
        return KERNEL_WRONG
    if "error" in verdicts:
        return HARNESS_WRONG
    output = out / f"guest-{supervised.guests}" / "output.log"
    if supervised.status == _PYTEST_USAGE:
        print(f"vfio-hw: {_last_words(output)}", file=sys.stderr)
        return USAGE
    if supervised.status == _PYTEST_NOTHING or (not results and supervised.status == 0):
        raise HarnessError("no test matches the selection: see pytest --collect-only")
    if verdicts == {"skipped"}:
        raise HarnessError("every test was skipped, so nothing was judged: see the reasons above")
    status = supervised.status
    if status is None and not supervised.left and results[-1].verdict == "known":
        # It killed the last guest, after which nothing was left to run.
        return OK
    if supervised.left or status is None or status >= _PYTEST_INTERNAL:
        raise HarnessError(
            f"pytest ended with status {supervised.status} in the guest: {_last_words(output)};"
            f" see {output}"
        )
    return OK
