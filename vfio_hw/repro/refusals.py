"""What no C program is written of: it could not see it, or not do it, and would say so falsely."""

import json

from vfio_hw.race.again import Recorded

# How a failure is seen that the program sees too: its log, its outcomes, its deadline.
_SEEN = ("", "outcome", "hang", "kernel log", "panic", "exit")
# What is in the programs of the file.
_WIDENED = ("user-preempts", "disruption-preempts")


def why_not(recorded: Recorded) -> str | None:
    """Why there is no program of the failure; None: there is one."""
    file = recorded.content
    if any(actor["storm"] for actor in file["actors"]):
        return "an actor of it runs in a storm, which no C program is written for"
    others = [name for name in recorded.widened if name not in _WIDENED]
    if others or '"slow": true' in json.dumps(file):
        return f"no C program is written that is widened by {', '.join(others) or 'slow-memory'}"
    if '"call": "pidfd_getfd"' in json.dumps(file):
        return "it asks QEMU for something, through the port of the tests"
    oracle = file.get("oracle") or ""
    if oracle not in _SEEN:
        return f"a C program does not look for what the oracle {oracle} saw"
    if file.get("outcome") in file["legal"]:
        return f"a C program does not judge that {file['complaint']}"
    return None
