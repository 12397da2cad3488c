"""`vfio-hw run --here`: the hardware tests on this machine, which is afterwards as it was."""

import argparse
import os
import random
import sys
from pathlib import Path
from typing import Any

from vfio_hw.errors import HarnessError
from vfio_hw.here import earlier, running
from vfio_hw.here.child import Child, Stuck
from vfio_hw.here.ending import Ending
from vfio_hw.here.known import must_be_judged
from vfio_hw.here.session import RESULTS, distrust
from vfio_hw.here.taken import must_be_takeable, take_for_a_run
from vfio_hw.here.telling import tell
from vfio_hw.host import modules
from vfio_hw.host.guard import guarded
from vfio_hw.host.lock import VARIABLE, descriptor, machine_locked
from vfio_hw.host.pci import PciFunction
from vfio_hw.host.state import State
from vfio_hw.host.text import printable
from vfio_hw.onekernel import HARNESS_WRONG, INTERRUPTED, KERNEL_WRONG, OK, USAGE
from vfio_hw.report import race_files, terminal
from vfio_hw.report.events import EventLog, Result, by_descriptor, result_of
from vfio_hw.report.known import judged, known_finds
from vfio_hw.report.place import Place
from vfio_hw.session import PROJECT, pytest_line, results_directory
from vfio_hw.watchdog import RACE_BUDGET, REPORT_SECONDS, deadline_for

_PATIENCE = 10.0  # for the last write of a run that was killed
_MODULES = ("vfio-pci", "vfio_iommu_type1", "iommufd")
_PYTEST_FAILED, _PYTEST_STOPPED, _PYTEST_USAGE, _PYTEST_NOTHING = 1, 2, 4, 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run on this machine."""
    group = parser.add_argument_group("on this machine, instead of in a guest")
    group.add_argument(
        "--here",
        action="store_true",
        help="run the tests on this machine, on the functions that --device names, and give them"
        " back after; see vfio-hw doctor --here",
    )
    group.add_argument(
        "--force",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="take this function although the machine stands on it; repeatable",
    )
    group.add_argument(
        "--after-splat",
        action="store_true",
        help="give the kernel further tests after it has shown a fault",
    )
    group.add_argument(
        "--fatal",
        action="store_true",
        help="run also the tests of known finds that this kernel may die of, or be spoilt by",
    )


def run(args: argparse.Namespace) -> int:
    """Run them, put everything back, and return the exit status."""
    reasons = {
        "--kernel": args.kernel and "tests the kernel that runs here, anew",
        "--resume": args.resume and "tests the kernel that runs here, anew",
        "--races": args.races and "takes the pairs that pytest is given with -- --pairs=N",
        "--budget": args.budget and "takes what --race-budget gives each race",
    }
    for option, reason in reasons.items():
        if reason:
            print(f"vfio-hw: --here {reason}: leave out {option}", file=sys.stderr)
            return USAGE
    state = State()
    with machine_locked(state, _PATIENCE):
        dead = earlier.crashed(state)
        if dead is not None:
            terminal.say("an earlier run has ended with the machine:")
            terminal.tell(dead)
        earlier.must_be_undone(state)
        if not args.after_splat:
            running.must_be_trusted(state)
        named = [PciFunction.at(address) for address in args.device]
        must_be_takeable(named, args.force)
        out = results_directory(args.results)
        if os.geteuid() == 0:
            modules.load_available(_MODULES)
        return _taken(args, state, named, out)


def _taken(args: argparse.Namespace, state: State, named: list[PciFunction], out: Path) -> int:
    """Take the functions, run the tests, give everything back; the exit status."""
    left_over, going = 0, None
    with Ending() as ending:
        try:
            with Place.begun(out) as place:
                with ending.heeded(), guarded(args.force):
                    take_for_a_run(state, named)
                going = _Run(args, place, ending)
                status = going.lived()
        except KeyboardInterrupt:
            status = INTERRUPTED
            terminal.say(f"interrupted; what was finished is in {out}")
        finally:
            # A pytest that can not be ended may be restoring, too.
            if going is None or not going.stuck:
                left_over = tell(earlier.undone(state))
                running.over(state)
    return HARNESS_WRONG if left_over and status != KERNEL_WRONG else status


class _Run:
    def __init__(self, args: argparse.Namespace, place: Place, ending: Ending) -> None:
        self._args, self._place, self._out, self._ending = args, place, place.path, ending
        self._log = EventLog(self._out / "events.jsonl", place.made("events.jsonl"))
        self._output = place.made("output.log")
        self._finds, self._release = known_finds(), os.uname().release
        self._planned: list[str] = []
        self.stuck = False  #: the kernel does not let pytest go

    def lived(self) -> int:
        """From the first test to the last."""
        try:
            status = self._followed()
        except Stuck as error:
            self.stuck = True
            distrust(str(error).partition(":")[0])
            if all(result.verdict != "failed" for result in self._log.results()):
                raise
            # What it hangs in is told by then, and the kernel is to blame.
            terminal.say(str(error))
            status = None
        return self._ended(status)

    def _followed(self) -> int | None:
        """The exit status of pytest, None when it had to be ended.

        :raises Stuck: the kernel does not let it go.
        """
        args, raw = self._args, self._place.made("raw.jsonl")
        seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
        deadline = args.test_deadline or deadline_for(args.race_budget or RACE_BUDGET)
        own = [f"--test-deadline={deadline}", *(["--quick"] if args.quick else [])]
        own += ["--after-splat"] if args.after_splat else []
        own += ["--fatal"] if args.fatal else []
        own += [f"--force={address}" for address in args.force]
        line = pytest_line(
            seed=seed,
            race_budget=args.race_budget,
            devices=args.device,
            selection=[*own, *args.selection, *args.rest],
            events=by_descriptor(raw),
        )
        self._log.write({"event": "run", "kernel": self._release, "seed": seed, "argv": line})
        terminal.say(f"kernel {self._release} on this machine, seed {seed}, results in {self._out}")
        lock = descriptor()
        assert lock is not None
        environment = {key: text for key, text in os.environ.items() if key != modules.IN_GUEST}
        environment |= {VARIABLE: str(lock), RESULTS: str(self._out)}
        child = Child(
            line,
            cwd=PROJECT,
            environment=environment,
            output=self._output,
            events=raw,
            passed=[lock, raw],
        )
        try:
            with self._ending.heeded():
                return child.follow(deadline + 2 * REPORT_SECONDS, self._take)
        finally:
            child.close()

    def _take(self, event: dict[str, Any]) -> None:
        if event["event"] == "finished":
            result = judged(result_of(event), self._release, self._finds)
            self._log.write(result.as_event())
            terminal.tell(result)
            return
        self._log.write(event)
        if event["event"] == "session":
            self._planned = list(event["tests"])

    def _ended(self, status: int | None) -> int:
        results = self._log.results()
        finished = {result.test for result in results}
        left = [test for test in self._planned if test not in finished]
        race_files.tell(self._log, self._place)
        terminal.summary(results, self._out, left)
        return self._status(status, results, left)

    def _status(self, status: int | None, results: list[Result], left: list[str]) -> int:
        output, said = self._out / "output.log", _last_words(self._output)
        verdicts = {result.verdict for result in results}
        if "failed" in verdicts:
            return KERNEL_WRONG
        if "error" in verdicts:
            return HARNESS_WRONG
        if status == _PYTEST_USAGE:
            print(f"vfio-hw: {said}", file=sys.stderr)
            return USAGE
        if status == _PYTEST_NOTHING or not results:
            raise HarnessError(f"no test was run: {said}; see {output}")
        if verdicts == {"skipped"}:
            raise HarnessError("every test was skipped, so nothing was judged: see the reasons")
        # A known find is a failure to pytest, after which there may be no further test.
        by_a_find = status in (_PYTEST_FAILED, _PYTEST_STOPPED) and "known" in verdicts
        ended_well = status == 0 or by_a_find
        if left or not ended_well:
            raise HarnessError(
                f"pytest ended with status {status} and left {len(left)} tests:"
                f" {said}; see {output}"
            )
        must_be_judged([PciFunction.at(address) for address in self._args.device], results)
        return OK


def _last_words(output: int) -> str:
    """What pytest says was wrong: a usage that it did not take, an error of ours, or its end."""
    lines = by_descriptor(output).read_text(errors="replace").strip().splitlines()
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    internal = [line for line in lines if line.startswith("INTERNALERROR> ")]
    return printable((errors or internal[-1:] or lines[-1:] or ["no output"])[0])
