"""This file checks that a loss in every cycle is told from the noise of a machine."""

import itertools

import pytest

from vfio_hw.errors import KernelSplat
from vfio_hw.oracle import growth as module
from vfio_hw.oracle.growth import growth, leaves_nothing

CYCLES = 10


class Machine:
    """Amounts that a cycle changes, and noise that comes with each look."""

    def __init__(self, noise=()):
        self.amounts = {"objects in kmalloc-64": 100, "bytes of memory in use": 1 << 30}
        self.noise = itertools.chain(noise, itertools.repeat(0))
        self.looks = 0

    def look(self):
        self.looks += 1
        self.amounts["objects in kmalloc-64"] += next(self.noise)
        return dict(self.amounts)


@pytest.fixture
def machine(monkeypatch):
    def made(**options) -> Machine:
        new = Machine(**options)
        monkeypatch.setattr(module, "_amounts", new.look)
        return new

    monkeypatch.setattr(module, "_GRACE", 0.0)
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    return made


def loses(machine, what, amount=1):
    def cycle():
        machine.amounts[what] = machine.amounts.get(what, 0) + amount

    return cycle


def test_an_object_lost_in_each_cycle_is_found(machine):
    found, _ = growth(loses(machine(), "objects in kmalloc-64"), CYCLES)
    assert found == ["objects in kmalloc-64: +10, +10, +10 in batches of 10 cycles"]


def test_a_cache_that_appears_with_the_loss_is_found(machine):
    found, _ = growth(loses(machine(), "objects in new"), CYCLES)
    assert found == ["objects in new: +10, +10, +10 in batches of 10 cycles"]


def test_where_nothing_is_lost_one_batch_is_enough(machine):
    calls = []
    healthy = machine()
    assert growth(lambda: calls.append(1), CYCLES) == ([], {None})
    assert len(calls) == module._WARM_UP + CYCLES
    assert healthy.looks == 2


def test_growth_that_does_not_go_on_is_noise(machine):
    machine(noise=[0, 50, 0, 50, 0])
    assert growth(lambda: None, CYCLES)[0] == []


def test_different_things_that_grow_in_turn_are_noise(machine):
    busy = machine()
    names = itertools.cycle(["objects in one"] * CYCLES + ["objects in another"] * CYCLES)

    def cycle():
        loses(busy, next(names))()

    assert growth(cycle, CYCLES)[0] == []


def test_less_than_the_noise_of_a_machine_is_not_told(machine):
    busy = machine()
    assert growth(loses(busy, "bytes of memory in use", 4096), CYCLES)[0] == []
    found, _ = growth(loses(busy, "bytes of memory in use", 4 << 20), CYCLES)
    assert len(found) == 1


def test_what_is_given_back_late_is_not_lost(machine, monkeypatch):
    """The look is repeated until the time of grace is over."""
    late = machine()
    monkeypatch.setattr(module, "_GRACE", 5.0)
    late.noise = itertools.chain([0, 50, 0, 0, -50], itertools.repeat(0))
    calls = []
    assert growth(lambda: calls.append(1), CYCLES)[0] == []
    assert len(calls) == module._WARM_UP + CYCLES


def test_all_answers_of_the_cycles_are_told(machine):
    machine()
    answers = itertools.chain(["first"], itertools.repeat("other"))
    assert growth(lambda: next(answers), CYCLES)[1] == {"first", "other"}


def test_slow_cycles_are_repeated_less_often(machine, monkeypatch):
    machine()
    calls = []
    monkeypatch.setattr(module, "_BATCH_SECONDS", 0.0)
    assert growth(lambda: calls.append(1), 1000)[0] == []
    assert len(calls) == module._WARM_UP + module._FEWEST


def test_what_is_lost_or_answered_differently_is_the_kernels_fault(machine):
    busy = machine()
    leaves_nothing(lambda: "same", CYCLES)
    with pytest.raises(KernelSplat, match="not every cycle got the same"):
        leaves_nothing(itertools.count().__next__, CYCLES)
    with pytest.raises(KernelSplat, match=r"kmalloc-64: \+10, \+10, \+10"):
        leaves_nothing(loses(busy, "objects in kmalloc-64"), CYCLES)
