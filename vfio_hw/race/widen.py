"""What makes the window of a race wider: switches, of which each is undone when the race ends.

=====================  ========================================================================
user-preempts          all actors on one CPU; the first is woken by a timer and comes before the
                       others wherever in the kernel they are then (SCHED_FIFO against SCHED_IDLE)
disruption-preempts    the same, the other way round
slow-memory            the arguments of decisive ioctls lie in pages of a userfaultfd: the kernel
                       sleeps in copy_from_user() with what it holds
hotplug                a CPU goes and comes all the time, and stops the others for it
slow-function:NAME     a function of the kernel takes longer to enter: it has breakpoints of the CPU
=====================  ========================================================================
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vfio_hw.errors import HarnessError, Unsupported
from vfio_hw.host.cpus import coming_and_going
from vfio_hw.race.actor import Actor
from vfio_hw.race.breakpoint import held_up
from vfio_hw.race.program import Memory, Step
from vfio_hw.race.scene import Scene
from vfio_hw.uapi import lib

# Changes a round's programs.
Change = Callable[[Scene], Scene]

SLOW = "slow-function:"
_USERFAULTFD = Path("/proc/sys/vm/unprivileged_userfaultfd")


def check(names: Sequence[str]) -> None:
    """All are switches.

    :raises HarnessError: one is not.
    """
    unknown = [name for name in names if name not in SWITCHES and not name.startswith(SLOW)]
    if unknown or SLOW in names:
        raise HarnessError(
            f"no switch widens a race as {', '.join(unknown or [SLOW])}: choose from"
            f" {', '.join(SWITCHES)}, {SLOW}NAME"
        )


@contextlib.contextmanager
def widened(names: Sequence[str]) -> Iterator[Change]:
    """The switches are on inside; what is given changes the scene of each round accordingly.

    :raises HarnessError: there is no such switch.
    :raises Unsupported: the machine or the kernel has not what a switch needs.
    """
    check(names)
    functions = [name.removeprefix(SLOW) for name in names if name.startswith(SLOW)]
    with contextlib.ExitStack() as stack:
        if functions:
            stack.enter_context(held_up(functions))
        changes = [stack.enter_context(SWITCHES[name]()) for name in names if name in SWITCHES]

        def change(scene: Scene) -> Scene:
            for each in changes:
                scene = each(scene)
            return scene

        yield change


@contextlib.contextmanager
def _preempting(first: str, others: str) -> Iterator[Change]:
    cpu = min(os.sched_getaffinity(0))

    def change(scene: Scene) -> Scene:
        policies = [first, *[others] * (len(scene.actors) - 1)]
        return _with(
            scene,
            [
                replace(actor, cpu=cpu, policy=policy)
                for actor, policy in zip(scene.actors, policies, strict=True)
            ],
        )

    yield change


@contextlib.contextmanager
def _slow_memory() -> Iterator[Change]:
    if not _USERFAULTFD.exists():
        raise Unsupported("this kernel has no userfaultfd", option="CONFIG_USERFAULTFD")
    ioctl = lib.race_call_number(b"ioctl")

    def slow(step: Step) -> Step:
        if not step.decisive or step.number != ioctl:
            return step
        arguments = tuple(
            replace(argument, slow=True) if isinstance(argument, Memory) else argument
            for argument in step.arguments
        )
        return replace(step, arguments=arguments)

    def change(scene: Scene) -> Scene:
        return _with(
            scene,
            [
                actor if actor.process else replace(actor, program=[*map(slow, actor.program)])
                for actor in scene.actors
            ],
        )

    yield change


@contextlib.contextmanager
def _hotplug() -> Iterator[Change]:
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise Unsupported("no CPU can be taken away: there is one only")
    left = usable[:-1]

    def change(scene: Scene) -> Scene:
        actors = [
            replace(actor, cpu=left[index % len(left)]) for index, actor in enumerate(scene.actors)
        ]
        return _with(scene, actors)

    with coming_and_going(usable[-1]):
        # Nobody is to be kept on it, either where rounds are not changed: while they are measured.
        os.sched_setaffinity(0, left)
        try:
            yield change
        finally:
            os.sched_setaffinity(0, usable)


def _with(scene: Scene, actors: Sequence[Actor]) -> Scene:
    return replace(scene, actors=actors)


SWITCHES: dict[str, Callable[[], contextlib.AbstractContextManager[Change]]] = {
    "user-preempts": lambda: _preempting("fifo", "idle"),
    "disruption-preempts": lambda: _preempting("idle", "fifo"),
    "slow-memory": _slow_memory,
    "hotplug": _hotplug,
}
