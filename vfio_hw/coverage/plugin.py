"""The part of a coverage run that pytest loads in the guest: it sends the counters now and then."""

import time
from collections.abc import Generator
from pathlib import Path

import pytest

from vfio_hw.coverage import collect
from vfio_hw.port import port_of
from vfio_hw.report.events import send

# What a guest that dies has counted since the last time is lost; each time costs it half a second.
_EVERY = 10.0


class _Collector:
    def __init__(self, port: Path | None) -> None:
        self._port = port
        self._last = time.monotonic()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, object, object]:
        result = yield
        if time.monotonic() - self._last >= _EVERY:
            self._send()
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._send()

    def _send(self) -> None:
        if self._port:
            send(self._port, collect.event())
        self._last = time.monotonic()


# After the judge, so that this is none of a test's time.
@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Collector(port_of(config)), "vfio-hw-coverage")
