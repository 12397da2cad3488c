"""What no C program is written of: it could not see it, or not do it, and would say so falsely."""

import json
import re

from vfio_hw.host.text import printable
from vfio_hw.race.again import Recorded

# How a failure is seen that the program sees too: its log, its outcomes, its deadline.
_SEEN = ("", "outcome", "hang", "kernel log", "panic", "exit")
# What is in the programs of the file.
_WIDENED = ("user-preempts", "disruption-preempts")
# A node, or what shows one in sysfs, by a number that is another one the next time; those of the
# device itself are not in a file by their numbers.
_NUMBERED = re.compile(
    rb"/(?:dev/vfio|sys/class/vfio(?:-dev)?)/(?:devices/)?(?:vfio|noiommu-)?\d+\b"
)
# Bytes as a failure file has them.
_BYTES = re.compile(r'"bytes": "((?:[0-9a-f]{2})*)"')


def why_not(recorded: Recorded) -> str | None:
    """Why there is no program of the failure; None: there is one."""
    file = recorded.content
    if any(actor["storm"] for actor in file["actors"]):
        return "an actor of it runs in a storm, which no C program is written for"
    text = json.dumps(file)
    others = [name for name in recorded.widened if name not in _WIDENED]
    if others or '"slow": true' in text:
        return f"no C program is written that is widened by {', '.join(others) or 'slow-memory'}"
    if '"call": "pidfd_getfd"' in text:
        return "it asks QEMU for something, through the port of the tests"
    if needs := file.get("needs"):
        return f"no C program sets up what it needs of the machine {printable(str(needs))}"
    for found in _BYTES.finditer(text):
        if node := _NUMBERED.search(bytes.fromhex(found[1])):
            return f"it uses {node[0].decode()}, whose number is another one the next time"
    oracle = file.get("oracle") or ""
    if oracle not in _SEEN:
        return f"a C program does not look for what the oracle {oracle} saw"
    if file.get("outcome") in file["legal"]:
        return f"a C program does not judge that {file['complaint']}"
    return None
