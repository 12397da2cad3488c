"""How long actors take to come to the call that matters, and so where a round really was.

An actor may have to do something first, such as to open the file of sysfs that it writes to, and
that takes longer or shorter every time. How far apart two actors were is how far apart those of
their calls began that the kernel decides the race in.
"""

from collections import deque
from collections.abc import Sequence
from statistics import median_low

from vfio_hw.race.outcome import Call, Round

FIRST = 5  # rounds: in the best of them nothing else held an actor up
RECENT = 15


class Leads:
    """Learns from rounds; an actor's call that matters is its longest decisive one."""

    def __init__(self) -> None:
        self._calls: dict[int, int] = {}
        self._usual: dict[int, int] = {}
        self._recent: dict[int, deque[int]] = {}

    def learn(self, played: Round) -> None:
        """What a round adds."""
        for actor, calls in enumerate(played.actors):
            ran = {
                place: call.end_ns - call.start_ns
                for place, call in enumerate(calls)
                if call.step.decisive and call.start_ns
            }
            if actor not in self._calls and ran:
                self._calls[actor] = max(ran, key=lambda place: ran[place])
            if self._calls.get(actor) in ran:
                recent = self._recent.setdefault(actor, deque(maxlen=RECENT))
                recent.append(calls[self._calls[actor]].start_ns - _due(played, actor))
                if len(recent) == FIRST and actor not in self._usual:
                    self._usual[actor] = min(recent)

    def longer(self, actor: int) -> int:
        """By how many nanoseconds it takes longer of late than it does undisturbed."""
        if actor not in self._usual:
            return 0
        return median_low(self._recent[actor]) - self._usual[actor]

    def late(self, actor: int, played: Round) -> int:
        """How much later than undisturbed it came to its call in that round."""
        calls = played.actors[actor]
        if actor not in self._usual:
            return lateness_ns(calls, _due(played, actor))
        call = calls[self._calls[actor]]
        if not call.start_ns:
            return lateness_ns(calls, _due(played, actor)) + self.longer(actor)
        return call.start_ns - _due(played, actor) - self._usual[actor]


def lateness_ns(calls: Sequence[Call], due_ns: int) -> int:
    """How much later than due an actor began: its CPU had other things to do."""
    ran = calls[0].start_ns if calls else 0
    return max(0, ran - due_ns - calls[0].step.delay_ns) if ran else 0


def _due(played: Round, actor: int) -> int:
    return played.released_ns + played.offsets_ns[actor]
