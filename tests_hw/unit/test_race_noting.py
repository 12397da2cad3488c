"""This file checks that a round's writes to sysfs are told to the journal before it runs."""

from pathlib import Path

import pytest

from vfio_hw.host import sysfs
from vfio_hw.race.noting import noted
from vfio_hw.race.program import Slot, openat, read, write, write_file


class Keeper:
    def __init__(self):
        self.told = []

    def before(self, path: Path, text: str):
        self.told.append((str(path), text))
        return text

    def after(self, token, *, made):
        self.told.append((token, made))


@pytest.fixture
def told():
    keeper = Keeper()
    sysfs.keepers.append(keeper)
    yield keeper.told
    sysfs.keepers.remove(keeper)


REMOVE = "/sys/bus/mdev/devices/some/remove"
STEPS = (
    *write_file(REMOVE, b"1", decisive=True),
    *write_file("/tmp/other", b"2"),
    openat(REMOVE, 0, into=Slot("unused")),
    read(Slot("/sys/kernel/x"), 1),
    write(Slot("device"), b"3"),
)


def test_what_is_written_to_sysfs_is_told_before_and_after(told):
    with noted(STEPS):
        assert told == [(REMOVE, "1")]
    assert told == [(REMOVE, "1"), ("1", True)]


def test_of_a_round_that_is_cut_off_nobody_knows_how_it_ended(told):
    with pytest.raises(TimeoutError), noted(STEPS):
        raise TimeoutError
    assert told == [(REMOVE, "1")]
