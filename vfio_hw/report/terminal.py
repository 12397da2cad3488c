"""What a person sees of a run: a line as each test ends, and a summary."""

import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vfio_hw.host.text import printable_lines
from vfio_hw.report.events import Event, Result

_MARKS = {
    "passed": "ok",
    "failed": "FAIL",
    "known": "known",
    "skipped": "skip",
    "error": "ERROR",
}


def tell(result: Result) -> None:
    """Print what became of a test; for a failure what was wrong, for a skip its reason."""
    line = f"{_MARKS[result.verdict]:5} {result.seconds:6.2f} s  {result.test}"
    if result.verdict == "failed":
        line += f"  [{result.oracle}]"
    say(line)
    if result.verdict in ("failed", "error"):
        say("\n".join(f"      | {text}" for text in essence(result.text)))
    elif result.verdict == "skipped":
        say(f"      | {result.text}")
    elif result.verdict == "known":
        say(f"      | docs/finds/{result.properties['find']}.md")


def hang_up() -> None:
    """Nobody reads what we print any more: from now on it goes nowhere, and fails no more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def follow(event: Event) -> None:
    """Print how a race goes that takes its time."""
    if event["event"] != "racing":
        return
    outcomes = ", ".join(f"{each} {count}" for each, count in event["outcomes"].items())
    rate = event["rounds"] / max(event["seconds"], 0.1)
    say(
        f"      {event['seconds']:6.1f} s  {event['rounds']} rounds, {rate:.0f}/s,"
        f" {event['edges']} edges; {outcomes}"
    )


def essence(text: str) -> Iterable[str]:
    """The lines of a failure that say what was wrong; the record has all of them."""
    lines = text.splitlines()
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (errors or lines)[:12]


def summary(results: list[Result], out: Path, left: list[str]) -> None:
    """Print how many tests had which verdict, and where the record is."""
    counts = Counter(result.verdict for result in results)
    words = [f"{counts[verdict]} {verdict}" for verdict in ("passed", "failed")]
    words += [
        f"{counts[verdict]} {verdict}"
        for verdict in ("known", "skipped", "error")
        if counts[verdict]
    ]
    if left:
        words.append(f"{len(left)} not run")
    say(", ".join(words))
    races = [result for result in results if "edges" in result.properties]
    if unmet := [result.test for result in races if not result.properties.get("met")]:
        say(
            f"{len(unmet)} of {len(races)} races were none: nobody met anybody, so they judged only"
            f" one after the other, {unmet[0]} the first (met in the record); --race-budget, or"
            " the --budget of --races, gives them more time"
        )
    say(f"results: {out}")


def say(text: str) -> None:
    """Print a line, or several, at once, also into a pipe; nothing in it moves the cursor."""
    print(printable_lines(text), flush=True)
