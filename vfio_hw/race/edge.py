"""One edge of a race: the offset at which rounds begin to go another way.

It is found by bisection between two offsets of different signature. From then on it is held:
every round beside it says on which side of the edge it was, and moves the estimate by a step
towards the other side. Steps grow while they all go one way, for an edge that drifts, and
shrink when they turn.
"""

import random
from collections import Counter, deque
from collections.abc import Hashable

# A round so near to an edge is a round at the edge.
NEAR_NS = 20_000

# A bracket so narrow is an edge; rounds of an edge that is held are drawn so far to either side.
RESOLUTION_NS = 16_000
JITTER_NS = 6_000

SMALLEST_STEP_NS = 1_000
LARGEST_STEP_NS = 256_000
SAME_WAY = 3  # after so many steps one way they grow

MEMORY = 24  # rounds after which an edge of which one side was not seen is none
GRACE = 4  # an edge is taken for held after it was found
BY_CHANCE = 6  # one round in so many may show anything
THIRD = 4  # of them must show the same third signature, for it to lie between the two


class Edge:
    """Between ``low``, where rounds have the signature ``left``, and ``high``, with ``right``."""

    def __init__(self, low: int, high: int, left: Hashable, right: Hashable) -> None:
        self.low, self.high = self.first_low, self.first_high = low, high
        self.left, self.right = left, right
        self.position = (low + high) // 2
        self.step = RESOLUTION_NS // 2
        self.turns = 0  # rounds spent on it
        self.near = 0  # rounds near to it once it was proven
        self._same_way = 0
        self._recent: deque[Hashable] = deque(maxlen=MEMORY)
        self._doubted: tuple[int, Hashable] | None = None

    @property
    def bisecting(self) -> bool:
        """Whether it is still being found."""
        return self.high - self.low > RESOLUTION_NS

    @property
    def held(self) -> bool:
        """Found, and both of its sides were seen a short while ago, neither by mere chance."""
        if not self.bisecting and len(self._recent) < GRACE:
            return True  # both ends of the bracket were
        fewest = max(1, len(self._recent) // BY_CHANCE)
        return not self.bisecting and all(
            self._recent.count(side) >= fewest for side in (self.left, self.right)
        )

    @property
    def proven(self) -> bool:
        """Held for long enough for it to be no chance."""
        return self.held and len(self._recent) >= GRACE

    @property
    def lost(self) -> bool:
        """It was looked at for long, and one of its sides not seen: nothing changes here."""
        return not self.bisecting and len(self._recent) == MEMORY and not self.held

    @property
    def unseen(self) -> set[Hashable]:
        """The sides that were not seen of late."""
        return {self.left, self.right} - set(self._recent)

    def side(self, signature: Hashable) -> bool:
        """Whether it is one of the two."""
        return signature in (self.left, self.right)

    def ask(self, draw: random.Random) -> int:
        """Where the next round on it should be."""
        if not self.bisecting:
            return self.position + draw.randint(-JITTER_NS, JITTER_NS)
        return self._doubted[0] if self._doubted else self.position

    def tell(self, offset: int, signature: Hashable) -> Hashable | None:
        """What a round near to it, or within its bracket, showed.

        :return: a third signature, when there surely is one between the two sides.
        """
        self.turns += 1
        if self.bisecting:
            return self._bisect(offset, signature)
        self._recent.append(signature)
        if signature == self.left:
            self._move(1)
        elif signature == self.right:
            self._move(-1)
        elif Counter(self._recent)[signature] >= THIRD:
            return signature
        return None

    def _bisect(self, offset: int, signature: Hashable) -> Hashable | None:
        if signature == self.left:
            self.low = max(self.low, offset)
        elif signature == self.right:
            self.high = min(self.high, offset)
        elif self._doubted and self._doubted[1] == signature:
            return signature
        else:
            self._doubted = offset, signature
            return None
        self._doubted = None
        self.position = (self.low + self.high) // 2
        return None

    def _move(self, way: int) -> None:
        if self._same_way * way < 0:
            self._same_way = 0
            self.step = max(self.step // 2, SMALLEST_STEP_NS)
        self._same_way += way
        if abs(self._same_way) > SAME_WAY:
            self.step = min(self.step * 2, LARGEST_STEP_NS)
        self.position += way * self.step
