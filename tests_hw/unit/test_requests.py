"""This file checks which requests of a guest are refused, and never reach its monitor."""

import json
import socket

import pytest

from vfio_hw.vm.requests import Requests


class Monitor:
    """Keeps what reaches it."""

    def __init__(self) -> None:
        self.reached = []

    def ask(self, *command):
        self.reached.append(command)


@pytest.fixture
def port():
    """The guest's end of the line, what serves the other one, and the monitor behind it."""
    inside, outside = socket.socketpair()
    outside.setblocking(False)
    monitor = Monitor()
    with inside, outside:
        yield inside, Requests(outside, monitor, lambda _: None), monitor


@pytest.mark.parametrize(
    "line",
    [
        {"pause": "x"},
        {"pause": -1},
        {"pause": True},
        {"pause": float("nan")},
        {"pause": float("inf")},
        {"execute": "migrate", "arguments": {"uri": "exec:true"}},
        {"execute": "quit"},
        {"execute": ["device_del"]},
        {"execute": "device_del", "arguments": "id"},
        {"execute": "human-monitor-command", "arguments": {"command-line": "migrate exec:true"}},
        {"execute": "human-monitor-command", "arguments": {"command-line": 1}},
        {"execute": "human-monitor-command"},
        {},
    ],
)
def test_what_no_test_has_a_use_for_is_refused_and_does_not_reach_qemu(port, line):
    inside, requests, monitor = port
    inside.sendall(json.dumps({"id": 7, **line}).encode() + b"\n")
    assert requests.take()
    said = json.loads(inside.recv(1 << 16))
    assert said["id"] == 7
    assert said["error"]["desc"]
    assert monitor.reached == []


@pytest.mark.parametrize("line", [b"x", b"1", b"[]", b"{}", b'{"id": Infinity}', b"[" * 100000])
def test_what_is_no_request_is_told_and_ends_nothing(port, line):
    inside, requests, _ = port
    inside.sendall(line + b"\n")
    while line:
        assert requests.take()
        line = line[1 << 16 :]
    assert b"no request" in inside.recv(1 << 20)


@pytest.mark.parametrize("command", ["inject-nmi", "system_reset", "qom-list"])
def test_what_tests_have_a_use_for_reaches_it(port, command):
    inside, requests, monitor = port
    inside.sendall(json.dumps({"id": 7, "execute": command}).encode() + b"\n")
    assert requests.take()
    assert [asked[0] for asked in monitor.reached] == [command]
