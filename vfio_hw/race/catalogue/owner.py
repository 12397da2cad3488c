"""Another process that has the device open, with memory mapped for it, and ends."""

import signal
from collections.abc import Sequence

from vfio_hw.race.actor import Actor
from vfio_hw.race.calls import exits, kill
from vfio_hw.race.catalogue import dma, ioas
from vfio_hw.race.catalogue.scenes import SCENES
from vfio_hw.race.catalogue.subject import World, world_of
from vfio_hw.race.program import Slot, Step, sleep_ns

# Longer than a round may take: it does not come to its end.
_SLEEP_NS = 60_000_000_000


def killed(world: World, scene: str, name: str) -> Sequence[Actor]:
    """Who kills the owner, and the owner, who opened the device as in that scene and sleeps."""
    pid = Slot("owner", descriptor=False)
    killer = Actor(name, [kill(pid, signal.SIGKILL, decisive=True)])
    owner = Actor(
        "owner",
        [sleep_ns(_SLEEP_NS, decisive=True)],
        setup=_opening(world, scene),
        process=True,
        pid=pid,
    )
    return killer, owner


def exiting(world: World, scene: str, name: str) -> Sequence[Actor]:
    """The owner, who opened the device as in that scene, and exits."""
    setup = _opening(world, scene)
    return (Actor(name, [exits(decisive=True)], setup=setup, process=True),)


def _opening(world: World, scene: str) -> Sequence[Step]:
    # Slots of its own: what it opens is in no other process.
    own = world_of(world.subject)
    mapped = dma.map_dma(own) if scene == "legacy" else ioas.mapped(own)
    return (*SCENES[scene](own).prologue, mapped)
