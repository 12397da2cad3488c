"""What a round is made of, once the world was prepared for it."""

from collections.abc import Sequence
from dataclasses import dataclass

from vfio_hw.race.actor import Actor
from vfio_hw.race.program import Step


@dataclass(frozen=True)
class Scene:
    """One round's programs, over a world that was just prepared for them.

    :param nth: which allocation or copy of the first actor is made to fail in it, if one is.
    """

    prologue: Sequence[Step]
    actors: Sequence[Actor]
    epilogue: Sequence[Step] = ()
    nth: int | None = None
