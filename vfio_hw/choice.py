"""Which of the tests run, in which order, and what the outside is told of it beforehand."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from vfio_hw import order, plan
from vfio_hw.host import kconfig
from vfio_hw.host.modules import IN_GUEST
from vfio_hw.lazily import Lazily
from vfio_hw.plan import Plan
from vfio_hw.report.events import Event, Result, left
from vfio_hw.report.known import killer, known_finds, spoiler


class Choice:
    """Chooses what --planned, --left, --quick and --order ask for.

    :param say: takes events.
    :param begin: called with tests before the first of them runs.
    """

    def __init__(
        self,
        config: pytest.Config,
        say: Callable[[Event], None],
        begin: Callable[[Sequence[pytest.Item]], None],
    ) -> None:
        self._config, self._say, self._begin = config, say, begin
        option = config.option
        self._wanted = left(Path(option.left)) if option.left else None
        self._wanted_files = {test.partition("::")[0] for test in self._wanted or ()}
        self._release = option.release or os.uname().release
        self._plan = plan.read(Path(option.planned)) if option.planned else None
        if self._plan:
            config.pluginmanager.register(self._lazily(self._plan), "vfio-hw-lazily")

    def _lazily(self, whole: Plan) -> Lazily:
        wanted = self._wanted
        tests = [test for test in whole.tests if wanted is None or test in wanted]
        # Which they are the host has known before: a serial port needs seconds for so many names.
        self._announce({})
        return Lazily(tests, self._begin, self._missing)

    def _missing(self, test: str, why: str) -> None:
        text = f"the guest does not find this test, which the host has collected\n{why}"
        self._say({"event": "started", "test": test})
        self._say(Result(test, "error", 0.0, text).as_event())

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Importing a file costs an emulated processor more than most of its tests."""
        if self._wanted is None or collection_path.suffix != ".py":
            return None
        name = collection_path.relative_to(self._config.rootpath).as_posix()
        return None if name in self._wanted_files else True

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self._plan:
            return
        if self._config.option.machine:
            items[:] = order.for_machine(items, self._config.option.machine)
        if self._wanted is not None:
            items[:] = [item for item in items if item.nodeid in self._wanted]
        elif self._config.option.quick:
            items[:] = order.sampled(items, self._config.option.seed)
        if self._config.option.order:
            items[:] = order.ordered(items, order.read(Path(self._config.option.order)))
        else:
            items[:] = order.known_last(items, self._release, known_finds())
        if not os.environ.get(IN_GUEST) and not self._config.option.fatal:
            self._spare(items)

    def _spare(self, items: Sequence[pytest.Item]) -> None:
        """A machine that is not a guest's is not taken down, or spoilt, to show what is known."""
        finds, options = known_finds(), kconfig.options() or ()
        for item in items:
            test, why = item.nodeid, "this kernel may die of it"
            find = killer(test, self._release, finds)
            if find is None:
                why = "this kernel would be given no test after it"
                find = spoiler(test, self._release, finds, options)
            if find is not None:
                reason = f"{why}: docs/finds/{find.name}.md; --fatal runs it"
                item.add_marker(pytest.mark.skip(reason=reason))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not session.config.option.collectonly and not self._plan:
            tests = [item.nodeid for item in session.items]
            self._announce({"tests": tests, "promises": order.promises_of(session.items)})
            self._begin(session.items)

    def _announce(self, found: Event) -> None:
        self._say(
            {
                "event": "session",
                "kernel": os.uname().release,
                "seed": self._config.option.seed,
                **found,
            }
        )
