"""One kernel, judged by the tests: its guests, its record, and the exit status that it deserves."""

import argparse
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vfio_hw import guest, races
from vfio_hw.coverage import collect, gcov
from vfio_hw.errors import HarnessError, MachineLost
from vfio_hw.oracle.splats import splats
from vfio_hw.report import profile, race_files, terminal
from vfio_hw.report.events import EventLog, Result
from vfio_hw.report.known import Known, judged, known_finds, vanished
from vfio_hw.resuming import begin, go_on, roomy
from vfio_hw.session import PROJECT, pytest_line, with_plan
from vfio_hw.sharing import shared_out
from vfio_hw.vm import kernels, lanes
from vfio_hw.vm.kernels import decoding
from vfio_hw.vm.kernels.config import settings
from vfio_hw.vm.losses import Losses, Supervised
from vfio_hw.vm.machine import Deadlines, GuestRun
from vfio_hw.vm.progress import Progress
from vfio_hw.vm.supervisor import Supervisor
from vfio_hw.watchdog import RACE_BUDGET, REPORT_SECONDS, deadline_for

OK, KERNEL_WRONG, USAGE, HARNESS_WRONG, INTERRUPTED = 0, 1, 2, 3, 130

# pytest.ExitCode: internal error, usage error, nothing collected (below: it ran to an end of its
# own); importing pytest would delay the verdict.
_PYTEST_INTERNAL, _PYTEST_USAGE, _PYTEST_NOTHING = 3, 4, 5
# A guest that has run for so long gives way to a fresh one.
_REFRESHED = 4 * 3600.0


@dataclass(frozen=True)
class Judged:
    """What became of a kernel."""

    status: int
    release: str = ""
    results: Sequence[Result] = field(default_factory=list)
    text: str = ""  # why there is nothing better to tell


def on_kernel(args: argparse.Namespace, out: Path, log: EventLog) -> Judged:
    """Run the tests on the kernel ``args.kernel``, those that ``log`` has no verdict of.

    :param out: the directory of the record ``log``, which the caller holds.
    :raises HarnessError: no verdict can be given, and no test has told against the kernel.
    """
    args = races.planned(args, out)
    finds = known_finds()
    deadline = args.test_deadline or deadline_for(args.race_budget or RACE_BUDGET)
    line = _line(args, deadline)
    machine, kernel = guest.described(args, line, terminal.say, PROJECT)
    machine, plan = with_plan(machine, line, kernel.release, out)
    machine = replace(machine, vmcore=args.vmcore)
    if gcov.counts(kernel):
        machine = replace(machine, argv=[*machine.argv, f"-p{gcov.PLUGIN}"])
    progress = begin(args, log, machine, kernel, out)
    losses, telling = Losses(args.most_lost), threading.Lock()

    def tell(result: Result) -> None:
        with telling:
            terminal.tell(result)

    def supervisor(share: Progress) -> Supervisor:
        return Supervisor(
            machine,
            out,
            log,
            deadlines=deadlines(deadline),
            judge=lambda result: judged(result, kernel.release, finds),
            splats=splats,
            on_result=tell,
            on_event=terminal.follow,
            on_output=lambda data: None,
            most_lost=args.most_lost,
            progress=share,
            losses=losses,
            aside={collect.KIND: gcov.keep},
            plan=plan,
            advise=lambda ended: _advised(kernel, ended),
        )

    try:
        with roomy(out):
            shares = _shares(progress, plan.tests, args, log)
            supervised = lanes.side_by_side([supervisor(share) for share in shares], losses)
    except KeyboardInterrupt:
        log.write({"event": "interrupted"})
        terminal.say(f"interrupted: the guest is gone; what was finished is kept, {go_on(out)}")
        return Judged(INTERRUPTED, kernel.release, log.results(), "interrupted")
    except MachineLost as error:
        log.write({"event": "stopped", "text": str(error)})
        results = log.results()
        race_files.tell(log, out)
        terminal.summary(results, out, [])
        if any(result.verdict == "failed" for result in results):
            print(f"vfio-hw: {error}", file=sys.stderr)
            return Judged(KERNEL_WRONG, kernel.release, results)
        if results:
            error.add_note(go_on(out))
        raise
    results = log.results()
    races.note(args.kernel, kernel.release, results)
    race_files.tell(log, out)
    if args.profile:
        terminal.say("\n".join(profile.lines(log.read())))
    gone = _gone(results, kernel, finds)
    status = _ended(results, supervised, out)
    status = HARNESS_WRONG if status == OK and gone and args.strict_known else status
    return Judged(status, kernel.release, results)


def deadlines(deadline: float) -> Deadlines:
    """Of a guest whose every test has so many seconds: there is time for one, however long."""
    return Deadlines(silence=deadline + REPORT_SECONDS, whole=_REFRESHED + deadline)


def _shares(
    progress: Progress, tests: Sequence[str], args: argparse.Namespace, log: EventLog
) -> list[Progress]:
    """One for each guest that runs at the same time; with one guest, the whole."""
    guests = args.guests or lanes.fitting(args.cpus, args.memory)
    if guests == 1 or progress.done:
        return [progress]
    if progress.planned is None:
        # What can not be collected here, a guest tells why.
        if not tests:
            return [progress]
        log.write({"event": "plan", "tests": list(tests)})
        progress.planned = list(tests)
    shares = progress.shares(shared_out(progress.left, guests))
    terminal.say(f"{len(progress.left)} tests in {len(shares)} guests at a time")
    return shares


def _advised(kernel: kernels.Kernel, ended: GuestRun) -> str:
    """What to do about a panic; says it, beside the result that it becomes a part of."""
    text = decoding.advice(kernel, ended.console)
    terminal.say("\n".join(filter(None, [ended.dump, text])))
    return text


def _line(args: argparse.Namespace, deadline: float) -> list[str]:
    """What a guest runs: pytest, with what the command was given."""
    own = [f"--test-deadline={deadline}", *(["--quick"] if args.quick else [])]
    return pytest_line(
        seed=args.seed,
        race_budget=args.race_budget,
        devices=args.device,
        selection=[*own, *args.selection, *args.rest],
    )


def _gone(results: list[Result], kernel: kernels.Kernel, finds: Sequence[Known]) -> list[str]:
    """The known finds that no longer happen; says so."""
    options = settings(kernel.config.read_text()) if kernel.config else {}
    gone = vanished(results, kernel.release, finds, options)
    for name in gone:
        terminal.say(
            f"known find {name} no longer happens on {kernel.release}: see docs/finds/{name}.md"
        )
    return gone


def _last_words(output: Path) -> str:
    lines = output.read_text(errors="replace").strip().splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines[-1:] or ["no output"])[0]


def _ended(results: list[Result], supervised: Supervised, out: Path) -> int:
    terminal.summary(results, out, supervised.left)
    verdicts = {result.verdict for result in results}
    if supervised.why:
        why = f"{supervised.why}; for the {len(supervised.left)} tests not run {go_on(out)}"
        if "failed" not in verdicts:
            raise HarnessError(why)
        print(f"vfio-hw: {why}", file=sys.stderr)
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
    if supervised.left or status is None or status >= _PYTEST_INTERNAL:
        raise HarnessError(
            f"pytest ended with status {supervised.status} in the guest: {_last_words(output)};"
            f" see {output}"
        )
    return OK
