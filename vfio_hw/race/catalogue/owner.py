"""Owners of the device that are processes of their own, and end."""

import signal
from collections.abc import Callable, Sequence

from vfio_hw.race.calls import exits, kill
from vfio_hw.race.catalogue.effects import BOUND, KILLED, OPENED_GROUP
from vfio_hw.race.catalogue.entry import Disruption, alone
from vfio_hw.race.catalogue.scenes import SCENES, Held, cdev, legacy
from vfio_hw.race.catalogue.subject import World, world_of
from vfio_hw.race.program import Step


def _opened(scene: Callable[[World], Held]) -> Callable[[World], Sequence[Step]]:
    """What the owner opens, in slots of its own."""

    def steps(world: World) -> Sequence[Step]:
        return scene(world_of(world.subject)).prologue

    return steps


def _exits(name: str, scene: Callable[[World], Held], *effects: str) -> Disruption:
    return Disruption(
        name,
        ("nothing", "iommufd"),
        lambda _: (exits(decisive=True),),
        alone("exited", "exit_group(2) does not return"),
        frozenset(effects),
        owns=_opened(scene),
    )


DISRUPTIONS = (
    Disruption(
        "owner_killed",
        tuple(SCENES),
        lambda world: (kill(world.user, signal.SIGKILL, decisive=True),),
        alone("ok ESRCH", "kill(2): ESRCH when it has ended by itself and was waited for"),
        frozenset({KILLED}),
        ends_user=True,
    ),
    _exits("owner_of_group_exits", legacy, OPENED_GROUP),
    _exits("owner_of_cdev_exits", cdev, BOUND),
)
