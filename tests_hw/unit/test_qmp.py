"""This file checks what a guest asks and hears of its monitor, and the client, without a QEMU."""

import json
import os
import socket
import threading
import time

import pytest

from vfio_hw.errors import HarnessError, MachineLost
from vfio_hw.host.hypervisor import Hypervisor
from vfio_hw.host.plugging import Plugged
from vfio_hw.vm.qmp import Qmp
from vfio_hw.vm.requests import Requests


class Monitor:
    """Plays QEMU's monitor, and keeps what it is told."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.file = end.makefile("rwb")
        self.say({"QMP": {"version": {}, "capabilities": []}})
        assert self.hear()["execute"] == "qmp_capabilities"
        self.say({"return": {}, "id": 1})

    def say(self, words):
        self.file.write(json.dumps(words).encode() + b"\r\n")
        self.file.flush()

    def hear(self):
        return json.loads(self.file.readline())


@pytest.fixture
def talk():
    """A client and the monitor that it talks to."""
    ours, theirs = socket.socketpair()
    qmp = Qmp(ours)
    monitor = Monitor(theirs)
    yield qmp, monitor
    monitor.file.close()
    theirs.close()
    qmp.close()


def test_what_comes_back_is_given_to_whoever_asked(talk):
    qmp, monitor = talk
    answers = []
    qmp.ask("stop", {}, lambda said: answers.append(("stop", said["return"])))
    qmp.ask("query-status", {}, lambda said: answers.append(("status", said["return"])))
    first, second = monitor.hear(), monitor.hear()
    assert [first["execute"], second["execute"]] == ["stop", "query-status"]
    monitor.say({"event": "STOP", "data": {}})
    monitor.say({"return": "paused", "id": second["id"]})
    monitor.say({"return": {}, "id": first["id"]})
    assert [event["event"] for event in qmp.heard()] == ["STOP"]
    assert answers == [("status", "paused"), ("stop", {})]


def test_an_answer_that_does_not_come_in_time_is_told(talk):
    qmp, _ = talk
    with pytest.raises(MachineLost, match=r"dump: QEMU did not answer within 0\.1 s"):
        qmp.answer("dump", {}, deadline=0.1)


def test_a_refusal_is_told(talk):
    qmp, monitor = talk
    monitor.say({"error": {"class": "GenericError", "desc": "no room"}, "id": 2})
    with pytest.raises(MachineLost, match="dump: QEMU refused: no room"):
        qmp.answer("dump", {}, deadline=5.0)


def test_a_qemu_that_has_gone_is_told(talk):
    qmp, monitor = talk
    monitor.end.shutdown(socket.SHUT_RDWR)
    with pytest.raises(MachineLost, match="QEMU ended before it answered"):
        qmp.answer("dump", {}, deadline=5.0)


def test_what_it_has_said_last_is_heard_after_it_has_gone(talk):
    qmp, monitor = talk
    monitor.say({"event": "RESET", "data": {}})
    monitor.say({"event": "SHUTDOWN", "data": {"reason": "host-qmp-system-reset"}})
    monitor.end.shutdown(socket.SHUT_RDWR)
    assert [event["event"] for event in qmp.rest()] == ["RESET", "SHUTDOWN"]
    assert qmp.rest() == []


@pytest.fixture
def line(talk):
    """A guest's end of the line, whose other end is served; what was recorded."""
    qmp, monitor = talk
    inside, outside = socket.socketpair()
    outside.setblocking(False)
    told = []
    requests = Requests(outside, qmp, told.append)
    ended = threading.Event()

    def serve():
        while not ended.is_set():
            requests.go_on()
            for each in (outside, qmp):
                try:
                    os.set_blocking(each.fileno(), False)
                    requests.take() if each is outside else requests.pass_on(qmp.heard())
                except BlockingIOError:
                    pass
            time.sleep(0.005)

    thread = threading.Thread(target=serve)
    thread.start()
    yield Hypervisor(inside.fileno()), monitor, told
    ended.set()
    thread.join()
    inside.close()
    outside.close()


def test_a_guest_s_request_is_answered_with_its_times(line):
    hypervisor, monitor, told = line

    def play():
        asked = monitor.hear()
        monitor.say({"return": [asked["execute"], asked["arguments"]], "id": asked["id"]})

    threading.Thread(target=play).start()
    answer = hypervisor.ask("device_del", id="card")
    assert answer.value == ["device_del", {"id": "card"}]
    assert answer.asked_at <= answer.answered_at <= time.monotonic()
    assert told[0]["request"]["execute"] == "device_del"


@pytest.mark.parametrize("refused", [False, True])
def test_what_another_process_asked_through_the_port_is_known_by_its_number(line, refused):
    hypervisor, monitor, told = line
    assert not hypervisor.answered(7, within=0.01)
    os.write(hypervisor.port, Plugged(hypervisor, "edu").pulling(7))

    def play():
        asked = monitor.hear()
        result = {"error": {"desc": "no such device"}} if refused else {"return": {}}
        monitor.say({**result, "id": asked["id"]})

    threading.Thread(target=play).start()
    if refused:
        with pytest.raises(HarnessError, match="QEMU refused request 7: no such device"):
            hypervisor.answered(7, within=5)
    else:
        assert hypervisor.answered(7, within=5)
    assert not hypervisor.answered(7, within=0.01)
    assert told[0]["request"]["execute"] == "device_del"


def test_an_event_waits_until_it_is_asked_for(line):
    hypervisor, monitor, _ = line

    def play():
        asked = monitor.hear()
        monitor.say({"event": "DEVICE_DELETED", "data": {"device": "other"}})
        monitor.say({"event": "DEVICE_DELETED", "data": {"device": "card"}})
        monitor.say({"return": {}, "id": asked["id"]})

    threading.Thread(target=play).start()
    hypervisor.ask("device_del", id="card")
    assert hypervisor.happened("DEVICE_DELETED", device="card", within=5.0)
    assert hypervisor.wait_for("DEVICE_DELETED", deadline=1.0, device="card").data == {
        "device": "card"
    }
    assert not hypervisor.happened("DEVICE_DELETED", device="card")
    with pytest.raises(HarnessError, match=r"did not tell of STOP .* but of DEVICE_DELETED"):
        hypervisor.wait_for("STOP", deadline=0.1)


def test_a_pause_is_ended_from_outside(line):
    hypervisor, monitor, _ = line
    times = {}

    def play():
        for _ in range(2):
            asked = monitor.hear()
            times[asked["execute"]] = time.monotonic()
            monitor.say({"return": {}, "id": asked["id"]})

    threading.Thread(target=play).start()
    hypervisor.pause(0.2)
    assert times["cont"] - times["stop"] >= 0.2


def test_a_refused_request_is_told(line):
    hypervisor, monitor, _ = line

    def play():
        asked = monitor.hear()
        monitor.say({"error": {"desc": "Device 'x' not found"}, "id": asked["id"]})

    threading.Thread(target=play).start()
    with pytest.raises(HarnessError, match="QEMU refused device_del: Device 'x' not found"):
        hypervisor.ask("device_del", id="x")


def test_an_error_may_be_injected_by_the_monitor_for_people(line):
    hypervisor, monitor, _ = line

    def play():
        asked = monitor.hear()
        monitor.say({"return": asked["arguments"]["command-line"], "id": asked["id"]})

    threading.Thread(target=play).start()
    words = "pcie_aer_inject_error port RCVR"
    assert hypervisor.monitor(words) == words


def test_a_reset_that_does_not_come_is_told(line, monkeypatch):
    hypervisor, monitor, _ = line
    monkeypatch.setattr("vfio_hw.host.hypervisor._PATIENCE", 0.2)

    def play():
        asked = monitor.hear()
        assert asked["execute"] == "system_reset"
        monitor.say({"return": {}, "id": asked["id"]})

    threading.Thread(target=play).start()
    with pytest.raises(HarnessError, match=r"was to be reset, and goes on 0\.2 s later"):
        hypervisor.reset()
