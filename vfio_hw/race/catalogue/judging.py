"""What else must hold of a round of a pair whose outcome is legal: who waited, who did what."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, combinations

from vfio_hw.race.catalogue.device import PASSED
from vfio_hw.race.catalogue.effects import REMOVED
from vfio_hw.race.catalogue.pairs import Pair
from vfio_hw.race.judges import one_holder, removal_in_time
from vfio_hw.race.outcome import Call, Round
from vfio_hw.race.program import Slot
from vfio_hw.uapi import lib

# What opens a device, by its label; one more descriptor, which has to be closed too.
_OPENS = ("VFIO_GROUP_GET_DEVICE_FD", "open /dev/vfio/devices/", "dup for", f"receive {PASSED}")
_OPENAT, _IOCTL = (lib.race_call_number(name) for name in (b"openat", b"ioctl"))
_NEVER_NS = 1 << 62


def judge_of(pair: Pair) -> Callable[[Round], str | None]:
    """A removal waits for those who have the device open; whoever is refused, others have reached.

    Of a group that several open, each is refused only while another may have it.
    """

    legal = pair.legal

    def judge(played: Round) -> str | None:
        complaint = _removal_waited(pair, played)
        # Of what an injected fault has to do with, no more can be said.
        if not complaint and played.outcome in legal:
            complaint = _unfounded(pair, played)
        return complaint or _one_holder(played)

    return judge


def _unfounded(pair: Pair, played: Round) -> str | None:
    """Whose outcome nothing explains that others did, if anybody's is so.

    An effect of another explains nothing to him who had come to his end before the other began;
    and no effect comes of him who was refused all that he asked for.
    """
    entries = [entry for entry, _ in pair.meetings]
    alone = [entry.outcomes(pair.kind, pair.scene, frozenset()) for entry in entries]
    began = [_began(played, place) for place in range(len(entries))]
    idle = [
        outcome not in own and not _did(calls)
        for outcome, own, calls in zip(played.outcome, alone, played.actors, strict=True)
    ]
    for place, entry in enumerate(entries):
        ended = _ended(played.actors[place])
        does = [
            frozenset() if idle[other] or began[other] > ended else each.does
            for other, each in enumerate(entries)
        ]
        effects = pair.effects_on(place, does)
        if played.outcome[place] not in entry.outcomes(pair.kind, pair.scene, effects):
            name, outcome = entry.name, played.outcome[place]
            return f"{name} came to {outcome}, and nobody else had done anything that explains it"
    return None


def _began(played: Round, place: int) -> int:
    """When an actor's first call began, its setup included; 0 when it made none."""
    setups = played.setups[place] if played.setups else ()
    return next((call.start_ns for call in (*setups, *played.actors[place]) if call.start_ns), 0)


def _ended(calls: Sequence[Call]) -> int:
    """When an actor's last decisive call had surely ended.

    One that was skipped has no time. It depends on nobody when what it lacked was to come from a
    call of the actor's own; else it may have been skipped at any time, since another takes what a
    slot holds before he notes when his call begins. So may what came of the calls after it.
    """
    ended, robbed, own = 0, False, set[Slot]()
    for call in calls:
        lacks = own.intersection(each for each in call.step.arguments if isinstance(each, Slot))
        robbed |= not call.end_ns and not lacks
        if call.step.decisive:
            if robbed:
                return _NEVER_NS
            ended = max(ended, call.end_ns)
        if call.step.into is not None and call.outcome != "ok":
            own.add(call.step.into)
    return ended


def _did(calls: Sequence[Call]) -> bool:
    """Whether a call of an actor succeeded that others may notice: more than opening a file.

    Or was undone on its way: a bind keeps the group closed to others before it tries the reset
    that refuses it (vfio_device_block_group(), pci_try_reset_function()).
    """
    own = set[Slot]()
    for call in calls:
        step = call.step
        if (step.request, call.outcome) == ("VFIO_DEVICE_BIND_IOMMUFD", "EAGAIN"):
            return True
        asks = step.number == _IOCTL and step.arguments[0] not in own
        if call.outcome == "ok" and (asks or (step.decisive and step.number != _OPENAT)):
            return True
        if step.into is not None:
            own.add(step.into)
    return False


def _one_holder(played: Round) -> str | None:
    """A group that several open has one holder; see :func:`vfio_hw.race.judges.one_holder`."""
    setups = played.setups or [()] * len(played.actors)
    openers = [
        (call, _closing(call, calls))
        for setup, calls in zip(setups, played.actors, strict=True)
        for call in (*setup, *calls)
        if _opens_group(call)
    ]
    found = (one_holder(first, second) for first, second in combinations(openers, 2))
    return next((complaint for complaint in found if complaint), None)


def _opens_group(call: Call) -> bool:
    name = call.step.label.removeprefix("open /dev/vfio/")
    return name.isdecimal() and call.start_ns > 0


def _closing(opened: Call, calls: Sequence[Call]) -> Call:
    """What closed it: its close, or else the end of the process."""
    slot = opened.step.into
    closes = (call for call in calls if call.step.takes and call.step.arguments[0] is slot)
    return next(closes, calls[-1])


def _removal_waited(pair: Pair, played: Round) -> str | None:
    calls = [*played.prologue, *chain.from_iterable(played.actors)]
    if pair.disruption.waits:
        return _waited(played.actors[1], *_held(calls))
    if pair.disruption.owns is not None and REMOVED in pair.operation.does:
        # Whoever exits closes his device then.
        owned = [call for call in played.setups[1] if call.step.label.startswith(_OPENS)]
        return _waited(played.actors[0], (owned[0], played.actors[1][-1]))
    return None


def _waited(calls: Sequence[Call], *users: Sequence[Call]) -> str | None:
    """One that was refused has not removed anything, and need not wait."""
    writes = (c for c in calls if c.step.decisive and c.step.label.startswith("write"))
    removal = next(writes)
    return removal_in_time(removal, *users) if removal.outcome == "ok" else None


def _held(calls: Iterable[Call]) -> list[tuple[Call, Call]]:
    """Whoever opened the device: the call that did, and the one that closed what it got."""
    listed = list(calls)
    closes: dict[Slot, Call] = {}
    for call in listed:
        slot = call.step.arguments[0]
        if call.step.takes and call.start_ns and isinstance(slot, Slot):
            closes[slot] = call
    # What is received comes into its slot by a member of the message.
    received = {f"receive {slot.name}": slot for slot in closes}
    opens = [call for call in listed if call.step.label.startswith(_OPENS)]
    slots = [call.step.into or received.get(call.step.label) for call in opens]
    return [(call, closes[into]) for call, into in zip(opens, slots, strict=True) if into in closes]
