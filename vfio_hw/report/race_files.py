"""The files of races that failed, made from the record of a run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vfio_hw.report import terminal
from vfio_hw.report.events import Event, EventLog
from vfio_hw.report.place import Place


def write_failures(log: EventLog, out: Path | Place) -> dict[str, Path]:
    """Write ``race-N.json`` for every race of the record that failed; returns them by their tests.

    A race that the kernel did not survive, or after which an oracle found something, has told what
    it runs but not in which round it failed: how many there were is what it last said.
    """
    if isinstance(out, Path):
        with Place(out) as place:
            return write_failures(log, place)
    files = {}
    for number, content in enumerate(_failures(log), 1):
        text = json.dumps(content, indent=1) + "\n"
        files[content["test"]] = out.write(f"race-{number}.json", text)
    return files


def tell(log: EventLog, out: Path | Place) -> None:
    """Write the files, and say of each what can be done with it."""
    for test, path in write_failures(log, out).items():
        terminal.say(f"the race of {test}: vfio-hw replay {path}, or vfio-hw repro {path}")


def _failures(log: EventLog) -> Iterator[dict[str, Any]]:
    about: Event = {}
    guest: dict[str, Any] | None = None
    begun: dict[str, Event] = {}
    races: dict[Any, Event] = {}  # the last one of each guest
    for event in log.read():
        if event["event"] == "asked":
            guest = event["guest"]
        elif event["event"] == "run":
            about = event
        elif event["event"] == "race":
            begun[event["test"]] = races[event.get("guest")] = dict(event, rounds=None)
        elif event["event"] == "racing" and (race := races.get(event.get("guest"))):
            race["rounds"] = event["rounds"]
        elif event["event"] == "finished" and event["verdict"] == "failed":
            content = event["properties"].get("race") or _told(begun.get(event["test"]), event)
            if content:
                ran_on = {"guest": guest, "image": about.get("image")}
                yield {
                    **content,
                    **ran_on,
                    "oracle": event.get("oracle"),
                    "text": event["text"],
                }


def _told(race: Event | None, finished: Event) -> dict[str, Any] | None:
    if race is None:
        return None
    lines = [*finished.get("findings", []), *finished["text"].splitlines(), "not known"]
    properties = finished["properties"]
    return {
        **{key: value for key, value in race.items() if key not in ("event", "time")},
        "complaint": lines[0],
        "edges": properties.get("edges", []),
        "rounds": properties.get("rounds", race["rounds"]),
        "seconds": finished["seconds"],
    }
