"""What an entry of the catalogue is: an operation or a disruption, and what may come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vfio_hw.race.catalogue.subject import World
from vfio_hw.race.program import Step

KINDS = ("mtty", "mdpy", "mbochs", "edu", "e1000e", "nvme")
MEDIATED = KINDS[:3]
PCI = KINDS[3:]
#: Functions with a reset of their own.
RESETTABLE = ("e1000e", "nvme")
#: The kinds that have interrupts.
INTERRUPTING = ("mtty", *PCI)


#: The process of the user is killed, with all that it has open.
KILLED = "the user is killed"


@dataclass(frozen=True)
class Legal:
    """What may come of an entry under an effect of another one, beside what comes of it alone.

    :param under: the effect; "" for an entry that nobody meets.
    :param outcomes: of its decisive steps, as :attr:`vfio_hw.race.outcome.Round.outcome` has them.
    :param reason: the header, the file of Documentation, the function or the commit that says so.
    :param kinds: the devices of which it holds.
    :param scenes: the scenes in which it holds; none: in all.
    """

    under: str
    outcomes: frozenset[str]
    reason: str
    kinds: tuple[str, ...] = KINDS
    scenes: tuple[str, ...] = ()


def legal(
    outcomes: str,
    reason: str,
    *,
    under: str | Sequence[str] = "",
    kinds: tuple[str, ...] = KINDS,
    scenes: tuple[str, ...] = (),
) -> tuple[Legal, ...]:
    """Outcomes as words, under each of these effects."""
    effects = (under,) if isinstance(under, str) else under
    words = frozenset(outcomes.split())
    return tuple(Legal(effect, words, reason, kinds, scenes) for effect in effects)


def alone(outcomes: str = "ok", reason: str = "nothing is in its way") -> tuple[Legal, ...]:
    """What comes of an entry that nobody meets."""
    return legal(outcomes, reason)


def cut_short(outcomes: frozenset[str]) -> frozenset[str]:
    """What is left of outcomes when the process that has them ends anywhere on the way."""
    found = set()
    for outcome in outcomes:
        parts = outcome.split("+")
        for place in range(len(parts)):
            rest = ["not run"] * (len(parts) - place)
            # In the decisive call, or in another one before it.
            found |= {"+".join([*parts[:place], first, *rest[1:]]) for first in ("SIGKILL", *rest)}
    return frozenset(found)


@dataclass(frozen=True)
class Entry:
    """Something that is done to a device, or with it, while something else is.

    :param scenes: in which of :data:`vfio_hw.race.catalogue.scenes.SCENES` it can be done, those
        that suit it best first.
    :param steps: the calls; what they open they close, except what the scene opened.
    :param legal: what may come of it, alone and under the effects of others.
    :param does: its own effects on others.
    :param kinds: the kinds of devices that can do it.
    """

    name: str
    scenes: tuple[str, ...]
    steps: Callable[[World], Sequence[Step]]
    legal: tuple[Legal, ...]
    does: frozenset[str] = frozenset()
    kinds: tuple[str, ...] = KINDS

    def holding(self, kind: str, scene: str, effects: frozenset[str]) -> list[Legal]:
        """What is said of it on such a device, in a scene, while others have these effects."""
        said = [
            each
            for each in self.legal
            if each.under in effects | {""}
            and kind in each.kinds
            and (not each.scenes or scene in each.scenes)
        ]
        if KILLED in effects:
            outcomes = frozenset().union(*(cut_short(each.outcomes) for each in said))
            said.append(Legal(KILLED, outcomes, "signal(7): a process ends in the call it is in"))
        return said

    def outcomes(self, kind: str, scene: str, effects: frozenset[str]) -> frozenset[str]:
        """What may come of it then."""
        found = [each.outcomes for each in self.holding(kind, scene, effects)]
        return frozenset().union(*found)


@dataclass(frozen=True)
class Operation(Entry):
    """What a user does with the device."""


@dataclass(frozen=True)
class Disruption(Entry):
    """What takes the device, or a part of what the user has of it, away.

    :param waits: whether it waits for the last descriptor of the device to be closed.
    :param ends_user: whether the user is a process of its own, which this ends.
    :param owns: what it has opened before it meets the user: it is a process of its own then, and
        nobody else has that.
    :param machine: the one of fixtures/machines on which it can be done; "" for any.
    :param of_the_machine: whether devices of others go with it, so that it is done in a guest only.
    """

    waits: bool = False
    ends_user: bool = False
    owns: Callable[[World], Sequence[Step]] | None = None
    machine: str = ""
    of_the_machine: bool = False
