"""The command vfio-hw mutate."""

import argparse
import random
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vfio_hw import guest
from vfio_hw.errors import HarnessError
from vfio_hw.mutate import apply, corpus, variant
from vfio_hw.mutate.judging import verdicts
from vfio_hw.mutate.mutant import Mutant
from vfio_hw.mutate.record import (
    BAD,
    CLEAN,
    DETECTED,
    EQUIVALENT,
    SURVIVED,
    UNCLEAR,
    UNFIT,
    Asked,
    Record,
    Verdict,
)
from vfio_hw.mutate.trial import RACE_BUDGET, Bench
from vfio_hw.report.known import known_finds
from vfio_hw.report.terminal import say
from vfio_hw.run import HARNESS_WRONG, INTERRUPTED, OK, USAGE
from vfio_hw.session import PROJECT, pytest_line, results_directory
from vfio_hw.vm.kernels import Kernel
from vfio_hw.vm.kernels.source import source_of

_SURVIVORS = 1


class _Noted(argparse.Action):
    """Stores an option's value, and that it was given."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        setattr(namespace, self.dest, values)
        namespace.given = (*namespace.given, option_string)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``mutate``."""
    parser = commands.add_parser(
        "mutate",
        usage="%(prog)s [options] [-- SELECTION ...]",
        help="put bugs into the kernel and see whether the tests notice",
        description="Applies each mutant of a corpus to a copy of its source file, rebuilds the"
        " modules made from it, boots them and runs the tests until the first failure. Clean"
        " kernels are slipped in between. After --: tests, and options of pytest.",
        epilog="Exit status: 0 every mutant was detected; 1 some survived; 2 wrong usage; 3 a"
        " mutant could not be judged, or a clean kernel failed; 130 interrupted. Mutants that this"
        " kernel can not show (unfit) and those that nobody can see (equivalent) are named and do"
        " not count.",
    )
    # What is given together with --resume, which goes on as it was begun, is refused.
    parser.register("action", None, _Noted)
    guest.add_arguments(parser)
    parser.add_argument(
        "--corpus",
        type=Path,
        default=corpus.CORPUS,
        metavar="DIR",
        help="directory of mutants (default: fixtures/mutants)",
    )
    parser.add_argument(
        "--only", nargs="+", action="extend", default=[], metavar="ID", help="only these mutants"
    )
    parser.add_argument(
        "--budget",
        type=guest.seconds,
        default=60.0,
        metavar="TIME",
        help="what the tests have for each mutant from the first result on: 90s, 2m (default: 60s)",
    )
    parser.add_argument("--seed", type=guest.whole, help="seed of all random choices")
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check",
        action="store_true",
        help="apply and compile them; boot nothing, judge nothing; with --only show what changes",
    )
    what.add_argument("--results", type=Path, metavar="DIR", help="where the record goes")
    what.add_argument(
        "--resume", type=Path, metavar="DIR", help="go on with what an earlier run was asked for"
    )
    parser.set_defaults(function=run, takes_rest="tests and options of pytest", given=())


def run(args: argparse.Namespace) -> int:
    """Judge the suite by the mutants; the exit status."""
    if args.check and args.rest:
        print("vfio-hw: --check runs no tests: leave out what follows --", file=sys.stderr)
        return USAGE
    others = [name for name in args.given if name != "--resume"] + ["--only"] * bool(args.only)
    if args.resume and (others or args.rest):
        print(
            f"vfio-hw: {args.resume} goes on with the mutants, tests and options that it was begun"
            f" with: leave out {', '.join([*others, *['what follows --'][: len(args.rest)]])}, or"
            " begin anew without --resume",
            file=sys.stderr,
        )
        return USAGE
    apply.ready()  # before anything that takes long, such as building a kernel
    record = _resumed(args) if args.resume else None
    mutants, problems = corpus.chosen(args.corpus, args.only)
    machine, kernel = guest.described(args, [], say, PROJECT)
    variant.objects_of(kernel)
    if args.check:
        return _checked(mutants, kernel, problems, show=bool(args.only))
    for problem in problems:
        print(f"vfio-hw: {problem}", file=sys.stderr)
    if args.seed is None:
        args.seed = random.SystemRandom().getrandbits(32)

    def line(races: bool) -> list[str]:
        return pytest_line(seed=args.seed, race_budget=RACE_BUDGET[races], selection=args.rest)

    name = f"{kernel.release} ({kernel.name})"
    bench = Bench(machine, line, name, kernel.release, known_finds(), args.budget)
    record = record or _begun(args)
    say(f"{len(mutants)} mutants on kernel {name}, seed {args.seed}, results in {record.directory}")
    try:
        found = [_told(each) for each in verdicts(bench, mutants, kernel, record)]
    except KeyboardInterrupt:
        say(f"interrupted; go on with: vfio-hw mutate --resume {record.directory}")
        return INTERRUPTED
    return _ended(found, problems)


def _begun(args: argparse.Namespace) -> Record:
    record = Record(results_directory(args.results, "mutate-"))
    corpus_path = str(args.corpus.absolute())
    what = guest.arguments(args)
    record.begin(Asked(what, corpus_path, args.only, args.budget, args.seed, args.rest))
    return record


def _resumed(args: argparse.Namespace) -> Record:
    """The record to go on with; the arguments become those that its run was given."""
    record = Record(guest.visible(args.resume))
    asked = record.asked()
    guest.set_arguments(args, asked.guest)
    args.corpus, args.only = Path(asked.corpus), asked.only
    args.budget, args.seed, args.rest = asked.budget, asked.seed, asked.selection
    return record


def _checked(mutants: Sequence[Mutant], kernel: Kernel, problems: list[str], *, show: bool) -> int:
    source = source_of(variant.objects_of(kernel))
    for mutant in mutants:
        try:
            if show:
                say(apply.difference(mutant, source))
            made = variant.provide(mutant, kernel)
            say(f"{mutant.id:8} ok {made.seconds:5.1f} s  {mutant.title}")
        except HarnessError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"vfio-hw: {problem}", file=sys.stderr)
    return HARNESS_WRONG if problems else OK


def _told(verdict: Verdict) -> Verdict:
    """Print a verdict as it comes."""
    what = verdict.verdict
    if verdict.id == CLEAN:
        what = "green" if what == SURVIVED else "RED"
    line = f"{verdict.id:8} {what:11}"
    if verdict.verdict in (DETECTED, SURVIVED, UNCLEAR):
        line += f" {verdict.seconds:6.1f} s  "
    if verdict.verdict == DETECTED:
        line += f"[{verdict.oracle}] {verdict.test}\n         | {verdict.text}"
    elif verdict.verdict == SURVIVED:
        line += f"{verdict.passed} of {verdict.tests} tests passed"
    else:
        line += f"{verdict.test} {verdict.text}".strip()
    say(line)
    return verdict


def _ended(found: Sequence[Verdict], problems: Sequence[str]) -> int:
    clean = [v for v in found if v.id == CLEAN]
    mutants = [v for v in found if v.id != CLEAN]
    counts = Counter(v.verdict for v in mutants)
    words = [f"{counts[DETECTED]} detected", f"{counts[SURVIVED]} survived"]
    words += [f"{counts[w]} {w}" for w in (UNCLEAR, BAD, UNFIT, EQUIVALENT) if counts[w]]
    if problems:
        words.append(f"{len(problems)} not read")
    red = [v for v in clean if v.verdict != SURVIVED]
    words.append(f"{len(clean)} clean kernels, {len(red)} of them wrongly failed")
    say(", ".join(words))
    if times := [v.build_seconds + v.seconds for v in mutants if v.verdict == DETECTED]:
        say(f"median from patch to verdict: {statistics.median(times):.1f} s")
    if red or problems or counts[UNCLEAR] or counts[BAD]:
        return HARNESS_WRONG
    return _SURVIVORS if counts[SURVIVED] else OK
