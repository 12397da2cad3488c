"""The table of promises, mutants, and the tests that see them."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.mutate import corpus
from vfio_hw.mutate.control import failed_clean
from vfio_hw.mutate.mutant import PROMISES, Mutant, version
from vfio_hw.mutate.record import (
    BAD,
    CLEAN,
    DETECTED,
    SURVIVED,
    UNCLEAR,
    UNFIT,
    Record,
    Verdict,
)
from vfio_hw.order import function_of
from vfio_hw.report.events import EventLog
from vfio_hw.run import HARNESS_WRONG, OK

_HEAD = """\
# Promises, mutants, and the tests that see them

Made by `vfio-hw mutants DIRECTORY...` from the records of `vfio-hw mutate`; not written by hand.
A mutant counts as seen when a test failed on it that passes on the clean kernel. Only the first
test to fail is on record, so one that is not named here may see as much. The seconds are from
power-on to the failure.
"""
_SHOWN = (BAD, UNFIT, UNCLEAR)
_STRUCK = "its test failed on a clean kernel"


@dataclass
class Evidence:
    """What the records say."""

    kernels: set[str] = field(default_factory=set)
    verdicts: dict[str, list[Verdict]] = field(default_factory=lambda: defaultdict(list))
    functions: dict[str, list[str]] = field(default_factory=dict)
    """Every test function that passed on a clean kernel, and its promises."""
    planned: dict[str, list[str]] = field(default_factory=dict)
    """Those that were to run there."""
    outdated: set[str] = field(default_factory=set)
    """Mutants of whose earlier versions there are verdicts, which are left out."""

    def seen(self, mutant: str) -> list[Verdict]:
        """The verdicts of those who saw it, each test function once."""
        found = {function_of(v.test): v for v in self.verdicts[mutant] if v.verdict == DETECTED}
        return list(found.values())

    def tried(self, mutant: str) -> bool:
        """Whether there is any verdict on it."""
        return bool(self.verdicts.get(mutant))


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command ``mutants``."""
    parser = commands.add_parser(
        "mutants",
        help="print which tests see which mutants",
        description="Prints the page docs/mutants.md from the records of vfio-hw mutate:"
        " vfio-hw mutants DIRECTORY... > docs/mutants.md",
        epilog="Exit status: 0 the page is whole; 3 a mutant could not be read and is not in it.",
    )
    parser.add_argument(
        "--corpus", type=Path, default=corpus.CORPUS, metavar="DIR", help="directory of mutants"
    )
    parser.add_argument(
        "results", type=Path, nargs="+", metavar="DIRECTORY", help="results of vfio-hw mutate"
    )
    parser.set_defaults(function=_print)


def _print(args: argparse.Namespace) -> int:
    mutants, problems = corpus.read(args.corpus)
    for problem in problems.values():
        print(f"vfio-hw: {problem}", file=sys.stderr)
    evidence = gathered(args.results, mutants)
    if evidence.outdated:
        names = ", ".join(sorted(evidence.outdated))
        print(f"vfio-hw: of {names} verdicts on other versions are left out", file=sys.stderr)
    print("\n".join(lines(mutants, evidence)))
    return HARNESS_WRONG if problems else OK


def gathered(directories: Iterable[Path], mutants: Sequence[Mutant]) -> Evidence:
    """What the records of these runs say together of these mutants, as they are now.

    :raises HarnessError: there is no record in one of them.
    """
    evidence = Evidence()
    versions = {each.id: version(each) for each in mutants}
    machines = {each.id: each.machine for each in mutants}
    for directory in directories:
        verdicts = Record(directory).read()
        if not verdicts:
            raise HarnessError(f"{directory} holds no record: name a directory of vfio-hw mutate")
        doubtful = {each: failed_clean(directory, each) for each in machines.values()}
        for verdict in verdicts:
            if verdict.id != CLEAN and verdict.version != versions.get(verdict.id):
                evidence.outdated.add(verdict.id)
                continue
            struck = verdict.id != CLEAN and verdict.test in doubtful[machines[verdict.id]]
            if struck and verdict.verdict == DETECTED:
                verdict = replace(verdict, verdict=UNCLEAR, text=_STRUCK)
            evidence.kernels.add(verdict.kernel)
            evidence.verdicts[verdict.id].append(verdict)
        for path in directory.glob(f"{CLEAN}-*/events.jsonl"):
            planned, passed = _functions(path)
            evidence.planned |= planned
            evidence.functions |= {name: planned[name] for name in passed & planned.keys()}
    return evidence


def _functions(events: Path) -> tuple[dict[str, list[str]], set[str]]:
    """The test functions of a trial with their promises, and which of them have passed."""
    promises: dict[str, list[str]] = {}
    passed: set[str] = set()
    for event in EventLog(events).read():
        if event["event"] == "session":
            promises |= event["promises"]
        elif event["event"] == "finished" and event["verdict"] == "passed":
            passed.add(function_of(event["test"]))
    return promises, passed


def lines(mutants: Sequence[Mutant], evidence: Evidence) -> list[str]:
    """The page, line by line."""
    counted = [each for each in mutants if not each.equivalent]
    seen = [each for each in counted if evidence.seen(each.id)]
    new = [each for each in counted if not evidence.tried(each.id)]
    page = [*_HEAD.splitlines(), "", f"{len(seen)} of {len(counted)} mutants seen,"]
    page[-1] += f" {len(new)} not tried yet."
    once = [v for each in counted for v in evidence.seen(each.id) if not v.again]
    if once:
        page.append(f"Of the failures below {len(once)} were not repeated on the mutant.")
    for kernel in sorted(filter(None, evidence.kernels)):
        there = [v for m in counted for v in evidence.verdicts[m.id] if v.kernel == kernel]
        tried = {v.id for v in there if v.verdict in (DETECTED, SURVIVED)}
        caught = {v.id for v in there if v.verdict == DETECTED}
        page.append(f"On {kernel}: {len(caught)} of {len(tried)} that were tried.")
    page.append("")
    page += ["| promise | mutants | seen | tests that saw one |", "|---|---|---|---|"]
    for promise in PROMISES:
        of = [each for each in counted if each.promise == promise]
        tests = {function_of(v.test) for each in of for v in evidence.seen(each.id)}
        hit = sum(bool(evidence.seen(each.id)) for each in of)
        page.append(f"| {promise} | {len(of) or 'none'} | {hit} | {len(tests)} |")
    for promise in PROMISES:
        of = [each for each in counted if each.promise == promise and evidence.seen(each.id)]
        if of:
            page += ["", f"## {promise}", "", "| mutant | | seen by | oracle | s |"]
            page += ["|---|---|---|---|---|"]
            page += [line for each in of for line in _rows(each, evidence)]
    page += _survivors(counted, evidence) + _untried(new) + _equivalent(mutants)
    return page + _blind(evidence)


def _rows(mutant: Mutant, evidence: Evidence) -> list[str]:
    return [
        f"| {mutant.id} | {mutant.title} | {function_of(v.test).removeprefix('tests_hw/')} |"
        f" {v.oracle} | {v.seconds:.0f} |"
        for v in evidence.seen(mutant.id)
    ]


def _survivors(counted: Sequence[Mutant], evidence: Evidence) -> list[str]:
    page = ["", "## Not seen", "", "| mutant | promise | | expected to be seen by | why not |"]
    page.append("|---|---|---|---|---|")
    for each in counted:
        if evidence.seen(each.id) or not evidence.tried(each.id):
            continue
        ran = [v for v in evidence.verdicts[each.id] if v.verdict == SURVIVED]
        other = [v for v in evidence.verdicts[each.id] if v.verdict in _SHOWN]
        why = _most(ran) if ran else other[-1].text
        why = "; ".join(filter(None, [each.needs and f"needs {each.needs}", each.see, why]))
        page.append(
            f"| {each.id} | {each.promise} | {each.title} | {', '.join(each.oracles)} | {why} |"
        )
    return page


def _most(survived: Sequence[Verdict]) -> str:
    most = max(survived, key=lambda verdict: (verdict.passed, verdict.tests))
    if most.passed:
        return f"{most.passed} of {most.tests} tests passed"
    return f"{most.tests} tests passed or were skipped"  # so the first records had it


def _untried(new: Sequence[Mutant]) -> list[str]:
    page = ["", "## Not tried yet", "", "| mutant | promise | | expected to be seen by | |"]
    page.append("|---|---|---|---|---|")
    for each in new:
        why = "; ".join(filter(None, [each.needs and f"needs {each.needs}", each.see]))
        page.append(
            f"| {each.id} | {each.promise} | {each.title} | {', '.join(each.oracles)} | {why} |"
        )
    return page


def _equivalent(mutants: Sequence[Mutant]) -> list[str]:
    of = [each for each in mutants if each.equivalent]
    page = ["", "## Equivalent: nobody can see them, and they do not count", ""]
    return page + ([f"* {m.id}, {m.title}: {m.equivalent}" for m in of] or ["none"])


def _blind(evidence: Evidence) -> list[str]:
    mutants = (vs for name, vs in evidence.verdicts.items() if name != CLEAN)
    saw = {function_of(v.test) for vs in mutants for v in vs if v.verdict == DETECTED}
    passed = evidence.functions.keys()
    lists = {
        "Tests that were never the first to see a mutant": passed - saw,
        "Tests that have not passed on a clean kernel here: not reached, or skipped": (
            evidence.planned.keys() - passed - saw
        ),
    }
    page: list[str] = []
    for title, names in lists.items():
        page += ["", f"## {title}", ""]
        page += [
            f"* {name} ({', '.join(promises) or 'no promise'})"
            for name, promises in evidence.planned.items()
            if name in names
        ]
    return page
