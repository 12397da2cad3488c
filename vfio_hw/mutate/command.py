"""The command vfio-hw mutate."""

import argparse
import random
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from vfio_hw import guest
from vfio_hw.errors import HarnessError
from vfio_hw.mutate import corpus, seen, variant
from vfio_hw.mutate.mutant import Mutant
from vfio_hw.mutate.record import (
    BAD,
    CLEAN,
    DETECTED,
    EQUIVALENT,
    SURVIVED,
    UNCLEAR,
    Record,
    Verdict,
)
from vfio_hw.mutate.trial import RACE_BUDGET, Bench
from vfio_hw.order import Order
from vfio_hw.report.known import known_finds
from vfio_hw.report.terminal import say
from vfio_hw.session import PROJECT, pytest_line, results_directory
from vfio_hw.vm.kernels import Kernel

_OK, _SURVIVORS, _WRONG, _INTERRUPTED = 0, 1, 3, 130
_CLEAN_EVERY = 10


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``mutate``."""
    parser = commands.add_parser(
        "mutate",
        help="put bugs into the kernel and see whether the tests notice",
        description="Applies each mutant of a corpus to a copy of its source file, rebuilds the"
        " modules made from it, boots them and runs the tests until the first failure. Clean"
        " kernels are slipped in between.",
        epilog="Exit status: 0 every mutant was detected; 1 some survived; 2 wrong usage; 3 a"
        " mutant could not be judged, or a clean kernel failed; 130 interrupted.",
    )
    guest.add_arguments(parser)
    parser.add_argument(
        "--corpus", type=Path, default=corpus.CORPUS, metavar="DIR", help="directory of mutants"
    )
    parser.add_argument(
        "--only", nargs="+", action="extend", default=[], metavar="ID", help="only these mutants"
    )
    parser.add_argument(
        "--budget",
        type=guest.seconds,
        default=60.0,
        metavar="SECONDS",
        help="time that the tests have for each mutant (default: 60s)",
    )
    parser.add_argument(
        "--check", action="store_true", help="apply and compile them; boot nothing, judge nothing"
    )
    parser.add_argument("--seed", type=guest.whole, help="seed of all random choices")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--results", type=Path, metavar="DIR", help="where the record goes")
    place.add_argument("--resume", type=Path, metavar="DIR", help="go on with an earlier run")
    parser.set_defaults(function=run, takes_rest=True)


def run(args: argparse.Namespace) -> int:
    """Judge the suite by the mutants; the exit status."""
    mutants, problems = corpus.read(args.corpus)
    mutants = corpus.chosen(mutants, args.only)
    machine, kernel = guest.described(args, [], say, PROJECT)
    variant.objects_of(kernel)
    if args.check:
        return _checked(mutants, kernel, problems)
    record = _record(args)
    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed

    def line(races: bool) -> list[str]:
        return pytest_line(seed=seed, race_budget=RACE_BUDGET[races], selection=args.rest)

    bench = Bench(machine, line, kernel.release, known_finds(), args.budget)
    say(f"{len(mutants)} mutants on kernel {kernel.release}, results in {record.directory}")
    try:
        verdicts = list(_judged(bench, mutants, kernel, record))
    except KeyboardInterrupt:
        say(f"interrupted; go on with: vfio-hw mutate --resume {record.directory}")
        return _INTERRUPTED
    for problem in problems:
        print(f"vfio-hw: {problem}", file=sys.stderr)
    return _ended(verdicts, problems)


def _record(args: argparse.Namespace) -> Record:
    if args.resume is None:
        return Record(results_directory(args.results, "mutate-"))
    if not (args.resume / "mutants.jsonl").exists():
        raise HarnessError(f"{args.resume} holds no run to go on with: see --results")
    return Record(guest.visible(args.resume))


def _checked(mutants: Sequence[Mutant], kernel: Kernel, problems: list[str]) -> int:
    for mutant in mutants:
        try:
            made = variant.provide(mutant, kernel)
            say(f"{mutant.id:8} ok {made.seconds:5.1f} s  {mutant.title}")
        except HarnessError as error:
            problems.append(str(error))
    for problem in problems:
        print(f"vfio-hw: {problem}", file=sys.stderr)
    return _WRONG if problems else _OK


def _judged(
    bench: Bench, mutants: Sequence[Mutant], kernel: Kernel, record: Record
) -> Iterator[Verdict]:
    """Each verdict as it comes, of mutants and clean kernels; those in the record stand."""
    done = {(v.id, v.key): v for v in record.read() if v.verdict in (DETECTED, SURVIVED)}
    for number, mutant in enumerate(mutants):
        if number % _CLEAN_EVERY == 0:
            clean = done.get((CLEAN, str(number))) or _clean(bench, kernel, record, number)
            yield _told(clean)
        if mutant.equivalent:
            yield _told(Verdict(mutant.id, EQUIVALENT, text=mutant.equivalent))
            continue
        verdict = done.get((mutant.id, variant.key_of(mutant, kernel)))
        if verdict is None:
            verdict = _tried(bench, mutant, kernel, record)
            record.write(verdict)
        yield _told(verdict)


def _clean(bench: Bench, kernel: Kernel, record: Record, number: int) -> Verdict:
    order = Order(last=seen.known_tests(bench.finds, kernel.release))
    verdict = bench.tried(CLEAN, kernel.modules, order, _fresh(record, f"{CLEAN}-{number}"))
    verdict = verdict.replaced(key=str(number))
    record.write(verdict)
    return verdict


def _tried(bench: Bench, mutant: Mutant, kernel: Kernel, record: Record) -> Verdict:
    try:
        made = variant.provide(mutant, kernel)
    except HarnessError as error:
        return Verdict(mutant.id, BAD, kernel=kernel.release, text=str(error))
    order = Order(
        tests=seen.tests_of(mutant.id),
        last=seen.known_tests(bench.finds, kernel.release),
        promise=mutant.promise,
        devices=tuple(device for device in mutant.devices if device != "none"),
        races=mutant.race,
    )
    verdict = bench.tried(mutant.id, made.modules, order, _fresh(record, mutant.id))
    if verdict.verdict == DETECTED:
        seen.remember(mutant.id, verdict.test)
    return verdict.replaced(key=made.key, build_seconds=made.seconds)


def _fresh(record: Record, name: str) -> Path:
    """A directory that no earlier trial of the same name has used."""
    names = (name, *(f"{name}-again-{number}" for number in range(1, 1000)))
    return next(d for d in (record.directory / each for each in names) if not d.exists())


def _told(verdict: Verdict) -> Verdict:
    what = verdict.verdict
    if verdict.id == CLEAN:
        what = "green" if what == SURVIVED else "RED"
    line = f"{verdict.id:8} {what:10}"
    if verdict.verdict in (DETECTED, SURVIVED, UNCLEAR):
        line += f" {verdict.seconds:6.1f} s  "
    if verdict.verdict == DETECTED:
        line += f"[{verdict.oracle}] {verdict.test}\n         | {verdict.text}"
    elif verdict.verdict == SURVIVED:
        line += f"{verdict.tests} tests passed"
    else:
        line += f"{verdict.test} {verdict.text}"
    say(line)
    return verdict


def _ended(verdicts: Sequence[Verdict], problems: Sequence[str]) -> int:
    clean = [v for v in verdicts if v.id == CLEAN]
    mutants = [v for v in verdicts if v.id != CLEAN]
    counts = Counter(v.verdict for v in mutants)
    words = [f"{counts[DETECTED]} detected", f"{counts[SURVIVED]} survived"]
    words += [f"{counts[w]} {w}" for w in (UNCLEAR, BAD, EQUIVALENT) if counts[w]]
    if problems:
        words.append(f"{len(problems)} not read")
    red = [v for v in clean if v.verdict != SURVIVED]
    words.append(f"{len(clean)} clean kernels, {len(red)} of them wrongly failed")
    say(", ".join(words))
    if times := [v.build_seconds + v.seconds for v in mutants if v.verdict == DETECTED]:
        say(f"median from patch to verdict: {statistics.median(times):.1f} s")
    if red or problems or counts[UNCLEAR] or counts[BAD]:
        return _WRONG
    return _SURVIVORS if counts[SURVIVED] else _OK
