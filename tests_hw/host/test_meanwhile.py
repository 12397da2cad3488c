"""This file checks that what somebody sets while everything is given back is theirs."""

import pytest

from vfio_hw.host import sysfs
from vfio_hw.host.binding import rebind, set_driver_override
from vfio_hw.host.journals import ENDING


@pytest.fixture
def meanwhile():
    """Does something once, when the first write to a path with this in it is about to be made."""
    told = []

    def set_up(word, does):
        class Meanwhile:
            def before(self, path, text):
                if word in str(path) and not told:
                    told.append(str(path))
                    does()

            def after(self, token, *, made):
                pass

        sysfs.keepers.append(Meanwhile())

    kept = list(sysfs.keepers)
    yield set_up
    sysfs.keepers[:] = kept
    assert told


def test_an_override_is_theirs(command, before, state, card, edu, meanwhile):
    """Of the card, when the edu is being given back; its driver is ours, and comes back."""
    assert command("bind", card, edu)[0] == 0
    meanwhile(str(edu), lambda: (card.path / "driver_override").write_text("somebody's\n"))
    try:
        status, said = command("restore")
        assert status == 0 and "\"somebody's\" since, and we had set it to 'vfio-pci'" in said
        assert f"restored  {card} driver: 'vfio-pci' -> 'e1000e'" in said
        assert (card.driver, card.driver_override) == ("e1000e", "somebody's"), said
        assert (edu.driver, edu.driver_override, state.names(ENDING)) == (None, None, [])
    finally:
        set_driver_override(card, None)


def test_a_driver_is_theirs(command, before, state, card, edu, meanwhile):
    assert command("bind", card, edu)[0] == 0
    drivers = card.bus / "drivers"
    meanwhile(str(edu), lambda: (drivers / "vfio-pci/unbind").write_text(card.address))
    status, said = command("restore")
    assert status == 0 and f"left      {card} driver: somebody has set it to '' since" in said
    assert (card.driver, card.driver_override, state.names(ENDING)) == (None, None, []), said
    rebind(card, "e1000e")
    set_driver_override(card, None)


def test_what_somebody_gives_back_himself_is_not_told(command, before, state, card, edu, meanwhile):
    assert command("bind", card, edu)[0] == 0
    meanwhile(str(edu), lambda: (card.path / "driver_override").write_text("\n"))
    status, said = command("restore")
    assert (status, said.count("restored")) == (0, 3), said
    assert (card.driver, card.driver_override, state.names(ENDING)) == ("e1000e", None, [])
