"""Where the time of a run went, from the events of its record."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from vfio_hw.report.events import WRITES, Event, Result, result_of

_SLOWEST = 10
_MOST_WRITTEN = 8
_PHASES = ("setup", "call", "teardown", "oracles")


def lines(events: Iterable[Event]) -> list[str]:
    """What a person reads: the stages of a run, the phases of its tests, the slowest of them.

    With several guests at a time the stages of all are added up.
    """
    stages, results = _stages(events)
    if not stages:
        return ["where the time went: nothing has been run"]
    whole = sum(stages.values())
    said = [f"where the time went, {whole:.1f} s in all:"]
    said += [f"{seconds:8.1f} s {seconds / whole:4.0%}  {name}" for name, seconds in stages.items()]
    if writes := _writes(results):
        said.append("of that in writes to sysfs, some of which wait for a user of the device:")
        said += [f"{seconds:8.1f} s {seconds / whole:4.0%}  {name}" for name, seconds in writes]
    if kinds := _kinds(results):
        said.append("of that in tests of each kind of device, in how many:")
        said += [f"{took:8.1f} s {took / whole:4.0%}  {name}, {n}" for name, n, took in kinds]
    slow = sorted(results, key=lambda result: -result.seconds)[:_SLOWEST]
    if slow:
        said.append("set-up   call  teardown  oracles  of the slowest tests")
    for result in slow:
        of = [result.phases.get(phase, 0.0) for phase in _PHASES]
        said.append(f"{of[0]:6.2f} {of[1]:6.2f} {of[2]:9.2f} {of[3]:8.2f}  {result.test}")
    return said


def _kinds(results: Iterable[Result]) -> list[tuple[str, int, float]]:
    """Tests of each kind of device, and their seconds, the longest first."""
    took: dict[str, list[float]] = defaultdict(list)
    for result in results:
        kinds = result.properties.get("kinds", [])
        name = "several" if len(kinds) > 1 else kinds[0] if kinds else "none"
        took[name].append(result.seconds)
    found = [(name, len(each), sum(each)) for name, each in took.items()]
    return sorted(found, key=lambda each: -each[2])


def _writes(results: Iterable[Result]) -> list[tuple[str, float]]:
    """Seconds that writes to each attribute of sysfs have taken, the longest first."""
    took: dict[str, float] = defaultdict(float)
    for result in results:
        for name, seconds in result.phases.items():
            if name.startswith(WRITES):
                took[name] += seconds
    return sorted(took.items(), key=lambda each: -each[1])[:_MOST_WRITTEN]


def _stages(events: Iterable[Event]) -> tuple[dict[str, float], list[Result]]:
    """Seconds of each stage, in the order in which a run has them; and its results."""
    took: dict[str, float] = defaultdict(float)
    results: list[Result] = []
    before: datetime | None = None
    since: dict[int, datetime] = {}  # of each guest, the end of its last stage
    guest = 0
    for event in events:
        now, kind = datetime.fromisoformat(event["time"]), event["event"]
        if kind in ("asked", "resumed"):
            before = now
        elif kind == "run" and before:
            took["kernel: found, or fetched and built; tests compiled"] += _seconds(before, now)
        elif kind == "guest":
            guest = int(event["number"])
            since[guest] = now
        elif kind in ("booted", "session", "guest_ended"):
            guest = int(event["guest"] if "guest" in event else event.get("number", guest))
            if guest in since:
                took[_STAGES[kind]] += _seconds(since[guest], now)
                since[guest] = now
        elif kind == "started":
            guest = int(event.get("guest", guest))
            if guest in since:
                took["guests: between two tests"] += _seconds(since[guest], now)
                since[guest] = now
        elif kind == "finished":
            result = result_of(event)
            results.append(result)
            for phase in _PHASES:
                took[f"tests: {phase}"] += result.phases.get(phase, 0.0)
            rest = result.seconds - sum(result.phases.get(phase, 0.0) for phase in _PHASES)
            took["tests: the rest of pytest"] += max(0.0, rest)
            since[int(event.get("guest", guest))] = now
    order = [*_FIRST, *(f"tests: {phase}" for phase in _PHASES)]
    order += ["tests: the rest of pytest", "guests: between two tests", _STAGES["guest_ended"]]
    return {name: took[name] for name in order if name in took}, results


def _seconds(begin: datetime, end: datetime) -> float:
    return (end - begin).total_seconds()


_STAGES = {
    "booted": "guests: booting",
    "session": "guests: importing and collecting the tests",
    "guest_ended": "guests: ending",
}
_FIRST = (
    "kernel: found, or fetched and built; tests compiled",
    _STAGES["booted"],
    _STAGES["session"],
)
