"""What a round is made of, once the world was prepared for it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from vfio_hw.errors import Unsupported
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


def allowed(scene: Scene) -> Scene:
    """The same, when this user may make its calls; root may always.

    :raises Unsupported: it unloads a module or writes to sysfs, which is root's to do.
    """
    if os.geteuid() != 0:
        own = [program for actor in scene.actors for program in (actor.setup, actor.program)]
        programs = (scene.prologue, *own, scene.epilogue)
        for step in (step for program in programs for step in program):
            if _of_root(step):
                raise Unsupported(f"{step.label} is not for user {os.geteuid()}: run it as root")
    return scene


def _of_root(step: Step) -> bool:
    if not step.label.startswith("open /sys/"):
        return step.label == "delete_module"
    flags = step.arguments[2]
    return isinstance(flags, int) and flags & os.O_ACCMODE != os.O_RDONLY
