"""This file checks what a program may say, and that it reaches the engine as it was said."""

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_hw.errors import HarnessError, KernelRefused, Unsupported
from vfio_hw.race.program import (
    Memory,
    Slot,
    Step,
    close,
    ioctl,
    memory,
    openat,
    pointer_to,
    read,
    sleep_ns,
    syscall,
    write,
    write_file,
)
from vfio_hw.race.racer import Actor, Racer
from vfio_hw.uapi import ffi, lib
from vfio_hw.uapi import struct as uapi_struct


@pytest.fixture
def racer() -> Iterator[Racer]:
    with Racer() as racer:
        yield racer


def alone(*steps: Step) -> list[Actor]:
    return [Actor("alone", steps)]


def pipe(read_end: Slot, write_end: Slot) -> Step:
    return syscall("pipe2", Memory(bytes(8), loads={0: read_end, 4: write_end}), os.O_CLOEXEC)


def test_numbers_that_a_call_writes_to_memory_are_loaded_into_slots(racer: Racer) -> None:
    read_end, write_end = Slot("read end"), Slot("write end")
    program = (
        write(write_end, b"12345"),
        read(read_end, 16, decisive=True),
        close(read_end),
        close(write_end),
    )
    played = racer.round([pipe(read_end, write_end)], alone(*program))
    assert [call.value for call in played.actors[0]] == [5, 5, 0, 0]
    assert played.left_open == ()


def test_a_slot_is_stored_into_memory_before_the_call(racer: Racer, tmp_path: Path) -> None:
    file = Slot("file")
    store = Memory(b"\xff" * 12, stores={4: file})
    played = racer.round(
        [openat(_touched(tmp_path), os.O_WRONLY, into=file)],
        alone(syscall("write", file, store, 12, decisive=True)),
    )
    descriptor = played.prologue[0].value
    expected = b"\xff" * 4 + struct.pack("@i", descriptor) + b"\xff" * 4
    assert (tmp_path / "file").read_bytes() == expected


def test_memory_starts_anew_in_every_round(racer: Racer, tmp_path: Path) -> None:
    path = _touched(tmp_path)
    for _ in range(2):
        file, zero, same = Slot("file"), Slot("zero"), Memory(b"text")
        overwrite = syscall("read", zero, same, 4, decisive=True)
        racer.round(
            [openat(path, os.O_WRONLY, into=file), openat("/dev/zero", os.O_RDONLY, into=zero)],
            alone(syscall("write", file, same, 4), overwrite),
        )
        assert path.read_bytes() == b"text"


def test_members_of_a_struct_are_named_as_in_the_header() -> None:
    iommufd, devid = Slot("iommufd"), Slot("devid", descriptor=False)
    bind = uapi_struct("vfio_device_bind_iommufd")
    built = memory(bind, stores={"iommufd": iommufd}, loads={"out_devid": devid})
    assert built.content == bytes(ffi.buffer(bind))
    assert built.stores == {8: iommufd}
    assert built.loads == {12: devid}


def test_an_ioctl_goes_out_with_its_request_and_is_labelled_by_its_name(racer: Racer) -> None:
    null = Slot("null")
    step = ioctl(null, "VFIO_GET_API_VERSION", decisive=True)
    played = racer.round([openat("/dev/null", os.O_RDWR, into=null)], alone(step))
    assert (step.label, step.arguments[1]) == ("VFIO_GET_API_VERSION", lib.VFIO_GET_API_VERSION)
    assert played.outcome == ("ENOTTY",)


def test_an_ioctl_takes_bytes_slots_and_structs() -> None:
    fd = Slot("fd")
    copied = ioctl(fd, "VFIO_GROUP_GET_DEVICE_FD", b"name\0").arguments[2]
    assert isinstance(copied, Memory) and copied.content == b"name\0"
    by_address = ioctl(fd, "VFIO_GROUP_SET_CONTAINER", pointer_to(fd)).arguments[2]
    assert isinstance(by_address, Memory) and by_address.stores == {0: fd}
    info = ioctl(fd, "VFIO_DEVICE_GET_INFO", uapi_struct("vfio_device_info")).arguments[2]
    assert isinstance(info, Memory)
    assert len(info.content) == ffi.sizeof("struct vfio_device_info")
    assert ioctl(fd, "VFIO_SET_IOMMU", 3).arguments[2] == 3


def test_an_unknown_request_or_system_call_is_unsupported() -> None:
    with pytest.raises(Unsupported, match="VFIO_NO_SUCH"):
        ioctl(Slot("fd"), "VFIO_NO_SUCH")
    with pytest.raises(Unsupported, match="no_such_call"):
        syscall("no_such_call")


def test_writing_a_file_shows_which_of_open_and_write_failed(racer: Racer, tmp_path: Path) -> None:
    path = _touched(tmp_path)
    played = racer.round([], alone(*write_file(path, b"1", decisive=True)))
    assert played.outcome == ("ok+ok",)
    assert path.read_bytes() == b"1"
    played = racer.round([], alone(*write_file(tmp_path / "none", b"1", decisive=True)))
    assert played.outcome == ("ENOENT+skipped",)
    played = racer.round([], alone(*write_file("/dev/full", b"1", decisive=True)))
    assert played.outcome == ("ok+ENOSPC",)


def test_a_sleep_lasts_as_long_as_it_says(racer: Racer) -> None:
    (call,) = racer.round([], alone(sleep_ns(3_000_000, decisive=True))).actors[0]
    assert call.outcome == "ok"
    assert call.end_ns - call.start_ns >= 3_000_000


def test_a_failed_prologue_runs_no_actor_but_the_epilogue(racer: Racer, tmp_path: Path) -> None:
    def create(name: str) -> Step:
        path = tmp_path / name
        return openat(path, os.O_CREAT | os.O_WRONLY, into=Slot(name), decisive=True)

    with pytest.raises(KernelRefused, match=r"open .*none") as caught:
        racer.round(
            [openat(tmp_path / "none", os.O_RDONLY, into=Slot("none"))],
            alone(create("actor")),
            [create("epilogue")],
        )
    assert caught.value.errno == errno.ENOENT
    assert [path.name for path in tmp_path.iterdir()] == ["epilogue"]


def read_with_stores(number: int) -> Step:
    stores = dict.fromkeys(range(number), Slot("a"))
    return syscall("read", Memory(bytes(20), stores=stores), decisive=True)


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ([read(Slot("a"), 1)], "no decisive step"),
        ([read(Slot("a"), 65537, decisive=True)], "65536 bytes of memory"),
        ([sleep_ns(1, decisive=True)] * 257, "at most 256 steps"),
        ([read(Slot(str(i)), 1, decisive=True) for i in range(65)], "at most 64 slots"),
        ([syscall("read", *range(7), decisive=True)], "at most six arguments"),
        (
            [syscall("read", Memory(bytes(4), loads={1: Slot("a")}), decisive=True)],
            "32 bits at 1 are not within 4 bytes",
        ),
        (
            [read_with_stores(9)],
            "at most 8 slots",
        ),
    ],
)
def test_a_program_that_the_engine_can_not_hold_is_refused(
    racer: Racer, program: list[Step], complaint: str
) -> None:
    with pytest.raises(HarnessError, match=complaint):
        racer.round([], alone(*program))


def test_filling_a_slot_twice_is_refused(racer: Racer) -> None:
    slot = Slot("twice")
    step = openat("/dev/null", os.O_RDONLY, into=slot, decisive=True)
    with pytest.raises(HarnessError, match="fills slot twice a second time"):
        racer.round([step], alone(step))


def test_more_actors_than_the_engine_has_threads_are_refused(racer: Racer) -> None:
    with pytest.raises(HarnessError, match="at most 16 actors, not 17"):
        racer.round([], alone(sleep_ns(1, decisive=True)) * 17)


def _touched(folder: Path) -> Path:
    path = folder / "file"
    path.touch()
    return path
