"""This file checks the steps that map memory, touch it, poll, and pass descriptors."""

import mmap
import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_hw.errors import KernelRefused
from vfio_hw.race import calls
from vfio_hw.race.actor import Actor
from vfio_hw.race.program import Memory, Slot, close, openat, read, syscall, write
from vfio_hw.race.racer import Racer

PAGE = mmap.PAGESIZE


@pytest.fixture
def racer() -> Iterator[Racer]:
    with Racer() as racer:
        yield racer


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (PAGE // 256))
    return path


def test_bytes_are_read_and_written_at_an_offset(racer: Racer, file: Path) -> None:
    slot = Slot("file")
    program = [
        openat(file, os.O_RDWR, into=slot),
        calls.pwrite(slot, b"abc", 5, decisive=True),
        calls.pread(slot, 16, PAGE - 4, decisive=True),
        close(slot),
    ]
    played = racer.round([], [Actor("alone", program)])
    assert [call.value for call in played.actors[0][1:3]] == [3, 4]
    assert file.read_bytes()[4:9] == b"\x04abc\x08"


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_mapping_is_loaded_from_and_stored_to(racer: Racer, file: Path, size: int) -> None:
    slot, where = Slot("file"), calls.mapping("memory", PAGE)
    program = [
        openat(file, os.O_RDWR, into=slot),
        calls.mmap(where, slot),
        close(slot),
        calls.load(where, 8, size, decisive=True),
        calls.store(where, 0x21, 64, size, decisive=True),
        calls.munmap(where, decisive=True),
    ]
    played = racer.round([], [Actor("alone", program)])
    assert played.outcome == ("ok+ok+ok",)
    content = file.read_bytes()
    assert played.actors[0][3].value == int.from_bytes(bytes(range(8, 8 + size)), "little")
    assert content[64 : 64 + size + 1] == (0x21).to_bytes(size, "little") + bytes([64 + size])
    assert played.left_open == ()


def test_a_fault_is_an_outcome_and_the_program_goes_on(racer: Racer, file: Path) -> None:
    slot, beyond, readonly = Slot("file"), calls.mapping("beyond", 2 * PAGE), calls.mapping("ro", 1)
    prologue = [
        openat(file, os.O_RDWR, into=slot),
        calls.mmap(beyond, slot),
        calls.mmap(readonly, slot, protection=mmap.PROT_READ),
    ]
    program = [
        calls.load(beyond, PAGE, decisive=True),
        calls.store(readonly, 1, decisive=True),
        calls.load(readonly, 3, 1, decisive=True),
    ]
    for _ in range(2):
        played = racer.round(
            prologue,
            [Actor("one", program), Actor("other", program)],
            [calls.munmap(beyond), calls.munmap(readonly), close(slot)],
        )
        assert played.outcome == ("SIGBUS+SIGSEGV+ok",) * 2
        assert played.actors[0][2].value == 3


def test_a_mapping_that_is_left_is_unmapped_and_named(racer: Racer) -> None:
    where = calls.mapping("left", PAGE)
    anonymous = calls.mmap(where, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    played = racer.round([anonymous], [Actor("alone", [calls.load(where, decisive=True)])])
    assert played.left_open == ("left",)


def test_an_address_and_a_pointer_are_written_with_64_bits(racer: Racer) -> None:
    """readv() into a mapping: an iovec whose base is the address that a slot holds."""
    where, ends = calls.mapping("memory", PAGE), (Slot("read end"), Slot("write end"))
    pipe = syscall("pipe2", Memory(bytes(8), loads={0: ends[0], 4: ends[1]}), 0)
    anonymous = calls.mmap(where, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    vector = Memory(struct.pack("@NN", 0, 2), stores={0: where})
    sockets = Slot("one"), Slot("other")
    message = Memory(bytes(16) + struct.pack("@NNNNi", 0, 1, 0, 0, 0), pointers={16: vector})
    program = [
        write(sockets[0], b"hi"),
        syscall("recvmsg", sockets[1], message, 0, decisive=True),
        calls.load(where, 0, 2, decisive=True),
    ]
    played = racer.round(
        [pipe, anonymous, calls.socketpair(*sockets)],
        [Actor("alone", program)],
        [calls.munmap(where), *(close(slot) for slot in (*ends, *sockets))],
    )
    assert played.actors[0][2].value == int.from_bytes(b"hi", "little")


def test_polling_tells_whether_there_was_something(racer: Racer) -> None:
    ends = Slot("read end"), Slot("write end")
    pipe = syscall("pipe2", Memory(bytes(8), loads={0: ends[0], 4: ends[1]}), 0)
    program = [
        calls.poll(ends[0], select.POLLIN, 2_000_000, decisive=True),
        write(ends[1], b"x"),
        calls.poll(ends[0], select.POLLIN, 2_000_000, decisive=True),
    ]
    played = racer.round([pipe], [Actor("alone", program)], [close(end) for end in ends])
    waited, _, seen = played.actors[0]
    assert (waited.value, seen.value) == (0, 1)
    assert waited.end_ns - waited.start_ns >= 2_000_000


def test_a_descriptor_is_passed_and_kept_open_by_its_message(racer: Racer) -> None:
    sockets, ends, copy = (Slot("one"), Slot("other")), (Slot("r"), Slot("w")), Slot("copy")
    pipe = syscall("pipe2", Memory(bytes(8), loads={0: ends[0], 4: ends[1]}), 0)
    giver = [calls.send_descriptor(sockets[0], ends[1], decisive=True), close(ends[1])]
    taker = [
        calls.receive_descriptor(sockets[1], copy, decisive=True, delay_ns=20_000_000),
        write(copy, b"through", decisive=True),
        close(copy),
    ]
    played = racer.round(
        [pipe, calls.socketpair(*sockets)],
        [Actor("giver", giver), Actor("taker", taker)],
        [read(ends[0], 16), *(close(slot) for slot in (ends[0], *sockets))],
    )
    assert played.outcome == ("ok", "ok+ok")
    assert played.epilogue[0].value == len(b"through")
    assert played.left_open == ()


def test_nothing_to_receive_is_said_at_once(racer: Racer) -> None:
    sockets = Slot("one"), Slot("other")
    program = [calls.receive_descriptor(sockets[1], Slot("copy"), decisive=True)]
    played = racer.round(
        [calls.socketpair(*sockets)], [Actor("alone", program)], [close(slot) for slot in sockets]
    )
    assert played.outcome == ("EAGAIN",)


def test_a_copy_keeps_the_file_open(racer: Racer) -> None:
    null, copy = Slot("null"), Slot("copy")
    program = [calls.dup(null, copy), close(null), read(copy, 1, decisive=True), close(copy)]
    played = racer.round([openat("/dev/null", os.O_RDONLY, into=null)], [Actor("alone", program)])
    assert played.outcome == ("ok",)


def test_a_mapping_that_the_prologue_can_not_have_is_refused(racer: Racer) -> None:
    where = calls.mapping("memory", PAGE)
    with pytest.raises(KernelRefused, match="mmap memory on the prologue of a round: EBADF"):
        racer.round([calls.mmap(where)], [Actor("alone", [calls.load(where, decisive=True)])])
