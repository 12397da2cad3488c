"""The table of promises, mutants, and the tests that see them."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.mutate import corpus
from vfio_hw.mutate.mutant import PROMISES, Mutant
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
power-on to the verdict.
"""


@dataclass
class Evidence:
    """What the records say."""

    kernels: set[str] = field(default_factory=set)
    verdicts: dict[str, list[Verdict]] = field(default_factory=lambda: defaultdict(list))
    functions: dict[str, list[str]] = field(default_factory=dict)
    """Every test function that ran on a clean kernel, and its promises."""

    def seen(self, mutant: str) -> list[Verdict]:
        """The verdicts of those who saw it, each test function once."""
        found = {function_of(v.test): v for v in self.verdicts[mutant] if v.verdict == DETECTED}
        return list(found.values())


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
    print("\n".join(lines(mutants, gathered(args.results))))
    return HARNESS_WRONG if problems else OK


def gathered(directories: Iterable[Path]) -> Evidence:
    """What the records of these runs say together.

    :raises HarnessError: there is no record in one of them.
    """
    evidence = Evidence()
    for directory in directories:
        verdicts = Record(directory).read()
        if not verdicts:
            raise HarnessError(f"{directory} holds no record: name a directory of vfio-hw mutate")
        for verdict in verdicts:
            evidence.kernels.add(verdict.kernel)
            evidence.verdicts[verdict.id].append(verdict)
        for path in directory.glob(f"{CLEAN}-*/events.jsonl"):
            evidence.functions |= _functions(path)
    return evidence


def _functions(events: Path) -> dict[str, list[str]]:
    promises: dict[str, list[str]] = {}
    ran: set[str] = set()
    for event in EventLog(events).read():
        if event["event"] == "session":
            promises |= event["promises"]
        elif event["event"] == "finished":
            ran.add(function_of(event["test"]))
    return {name: of for name, of in promises.items() if name in ran}


def lines(mutants: Sequence[Mutant], evidence: Evidence) -> list[str]:
    """The page, line by line."""
    counted = [each for each in mutants if not each.equivalent]
    seen = [each for each in counted if evidence.seen(each.id)]
    page = [*_HEAD.splitlines(), "", f"{len(seen)} of {len(counted)} mutants seen."]
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
    return page + _survivors(counted, evidence) + _equivalent(mutants) + _blind(evidence)


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
        if evidence.seen(each.id):
            continue
        ran = [v for v in evidence.verdicts[each.id] if v.verdict == SURVIVED]
        other = [v for v in evidence.verdicts[each.id] if v.verdict in (BAD, UNFIT, UNCLEAR)]
        why = other[-1].text if other else "not run"
        why = f"{max(v.passed for v in ran)} tests passed" if ran else why
        why = "; ".join(filter(None, [each.needs and f"needs {each.needs}", each.see, why]))
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
    blind: Mapping[str, list[str]] = {
        name: promises for name, promises in evidence.functions.items() if name not in saw
    }
    page = ["", "## Tests that were never the first to see a mutant", ""]
    page += [
        f"* {name} ({', '.join(promises) or 'no promise'})" for name, promises in blind.items()
    ]
    return page
