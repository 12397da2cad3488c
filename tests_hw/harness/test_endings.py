"""This file checks that the four endings of a guest are told apart, each within its deadline."""

import dataclasses
import signal
import time
from pathlib import Path

import psutil
import pytest

from vfio_hw.vm.machine import Deadlines, Ending, run


@pytest.mark.parametrize("status", [0, 1, 77])
def test_the_status_of_the_command_is_passed(ran, status):
    ended = ran(f"exit {status}")
    assert (ended.ending, ended.status) == (Ending.EXITED, status)


def test_a_command_killed_by_a_signal_has_a_shells_status(ran):
    assert ran("kill -TERM $$").status == 128 + 15


def test_a_command_that_does_not_exist_says_so(guest, tmp_path):
    said = bytearray()
    ended = run(guest(["no-such-command"]), tmp_path, on_output=said.extend)
    assert ended.status == 127
    assert b"no-such-command" in said


def test_a_panic_is_a_panic_and_keeps_its_trace(ran):
    ended = ran("echo c > /proc/sysrq-trigger; sleep 1000")
    assert ended.ending is Ending.PANICKED
    assert "sysrq triggered crash" in ended.text
    assert "Call Trace" in ended.console.read_text(errors="replace")


def test_the_memory_of_a_guest_that_panicked_is_kept_on_request(guest, tmp_path):
    panics = guest(["sh", "-c", "echo c > /proc/sysrq-trigger; sleep 1000"])
    wanted = dataclasses.replace(panics, vmcore=True, memory="512M")
    ended = run(wanted, tmp_path / "out", deadlines=Deadlines(whole=90.0))
    assert ended.ending is Ending.PANICKED
    kept = tmp_path / "out" / "vmcore"
    assert str(kept) in ended.dump
    with kept.open("rb") as file:
        head = file.read(1 << 20)
    # How QEMU writes kdump's format, and what the dump says of its kernel.
    assert head.startswith(b"makedumpfile")
    assert b"KDUMP" in head
    assert kept.stat().st_size < 512 << 20


def test_a_panic_while_it_boots_is_one_too(guest, tmp_path):
    never = dataclasses.replace(guest(["true"]), append=["rdinit=/no/such/init", "root=/dev/none"])
    ended = run(never, tmp_path / "out", deadlines=Deadlines(boot=30.0))
    assert ended.ending is Ending.PANICKED
    assert "not syncing" in ended.text


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_qemu_that_is_killed_tells_against_nobody(guest, tmp_path, number):
    def kill(event):
        (qemu,) = [
            child
            for child in psutil.Process().children(recursive=True)
            if child.name().startswith("qemu-system")
        ]
        qemu.send_signal(number)

    says = ["sh", "-c", 'echo \'{"event": "here"}\' > /dev/ttyS1; sleep 1000']
    ended = run(guest(says), tmp_path / "out", deadlines=Deadlines(whole=60.0), on_event=kill)
    assert ended.ending is Ending.CUT_OFF
    assert "QEMU was killed" in ended.text


def test_a_reset_without_a_word_is_the_kernels_too(ran):
    ended = ran("echo b > /proc/sysrq-trigger; sleep 1000")
    assert ended.ending is Ending.PANICKED
    assert "reset" in ended.text


def test_a_guest_that_goes_silent_is_hung_at_its_deadline(ran):
    began = time.monotonic()
    ended = ran("sleep 1000", silence=2.0, boot=10.0)
    assert ended.ending is Ending.HUNG
    assert time.monotonic() - began < 30


def test_an_image_that_is_no_kernel_is_no_boot(guest, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"\0" * 65536)
    broken = dataclasses.replace(guest(["true"]), image=image)
    ended = run(broken, tmp_path / "out", deadlines=Deadlines(boot=5.0))
    assert ended.ending is Ending.NO_BOOT


def test_a_kernel_that_is_to_be_quiet_is_heard_all_the_same(guest, tmp_path):
    script = "echo 1 > /proc/sys/kernel/printk; echo '<6>turned down' > /dev/kmsg"
    quiet = dataclasses.replace(guest(["sh", "-c", script]), append=["quiet"])
    ended = run(quiet, tmp_path / "out")
    assert ended.status == 0
    said = ended.console.read_text(errors="replace")
    assert "Linux version" in said
    assert "turned down" in said


def test_what_a_guest_is_asked_to_run_is_no_word_to_its_kernel(guest, tmp_path):
    """Neither its words, nor its environment, nor where it runs."""
    word = '" panic=7\n init=/bin/sh -- \\$(reboot)\x1b[2J'
    where = tmp_path / "a panic=7 init=,b"
    where.mkdir()
    script = 'cat /proc/cmdline; printf "%s|%s|%s" "$1" "$WORD" "$PWD"'
    asked = guest(["sh", "-c", script, "sh", word])
    asked = dataclasses.replace(asked, cwd=where, environment={**asked.environment, "WORD": word})
    said = bytearray()
    ended = run(asked, tmp_path / "out", on_output=said.extend)
    assert ended.status == 0, ended.text
    parameters, given = said.decode().split("\n", 1)
    assert "panic=-1" in parameters.split() and "panic=7" not in parameters
    assert "init=" not in parameters
    assert given == f"{word}|{word}|{where}"


def test_what_the_guest_writes_does_not_reach_the_host(ran, tmp_path):
    there = tmp_path / "written"
    assert ran(f"echo guest > {there} && cat {there}").status == 0
    assert not there.exists()


def test_modules_of_the_kernel_can_be_loaded(ran, kernel):
    assert Path(kernel.modules).is_dir()
    assert ran("modprobe vfio-pci && test -c /dev/vfio/vfio").status == 0
