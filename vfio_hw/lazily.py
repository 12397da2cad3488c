"""Tests that were collected on the host are imported, in a guest, when their turn comes.

An emulated processor needs longer to collect all of them than to boot and run the first.
"""

from collections.abc import Callable, Iterator, Sequence

import pytest


class Lazily:
    """Takes the place of pytest's own collection and loop.

    :param tests: node ids, in their order.
    :param collected: called with the tests of each file before the first of them runs.
    :param missing: called with a test that is not there, and why, as far as it is known.
    """

    def __init__(
        self,
        tests: Sequence[str],
        collected: Callable[[Sequence[pytest.Item]], None],
        missing: Callable[[str, str], None],
    ) -> None:
        self._tests = list(tests)
        self._collected, self._missing = collected, missing
        self._files: dict[str, pytest.Collector] = {}
        self._items: dict[str, pytest.Item] = {}
        self._failures: dict[str, str] = {}  # of files that could not be imported

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        """Find the files, and import none."""
        # The tests were selected on the host; these words would be looked for in files' names.
        session.config.option.keyword = session.config.option.markexpr = ""
        files = list(dict.fromkeys(map(_file, self._tests)))
        found = session.perform_collect(files, genitems=False)
        self._files = {node.nodeid: node for node in found if isinstance(node, pytest.Collector)}
        session.testscollected = len(self._tests)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run all, each as pytest does: the next one is there when one ends."""
        items = self._in_turn(session)
        item = next(items, None)
        while item:
            following = next(items, None)
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
            item = following
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember why a file has no tests."""
        if report.failed:
            self._failures[report.nodeid] = report.longreprtext

    def _in_turn(self, session: pytest.Session) -> Iterator[pytest.Item]:
        for test in self._tests:
            if file := self._files.pop(_file(test), None):
                items = list(session.genitems(file))
                self._items |= {item.nodeid: item for item in items}
                self._collected(items)
            item = self._items.pop(test, None)
            if item:
                yield item
            else:
                self._missing(test, self._failures.get(_file(test), ""))


def _file(test: str) -> str:
    return test.partition("::")[0]
