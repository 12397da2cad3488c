"""What the catalogue says of owners that end, of devices that are pulled out, and of their bus."""

from types import SimpleNamespace

import pytest

from vfio_hw.race.catalogue import listing
from vfio_hw.race.catalogue.judging import judge_of
from vfio_hw.race.catalogue.pairs import disruption_named, operation_named, together, why_not
from vfio_hw.race.catalogue.play import scene_of
from vfio_hw.uapi import lib

KILL, OWNER_EXITS = disruption_named("owner_killed"), disruption_named("owner_of_group_exits")


def test_a_user_who_is_killed_is_so_in_a_call_or_between_two():
    pair = together([operation_named("open_cdev_and_VFIO_DEVICE_BIND_IOMMUFD")], KILL, "mtty")
    users = {user for user, _ in pair.legal}
    assert users == {"ok+ok", "ok+SIGKILL", "ok+not run", "SIGKILL+not run", "not run+not run"}
    assert "signal(7)" in listing.of(pair)


def test_a_user_who_is_killed_has_alone_what_goes_with_him(subject):
    """Whatever is open is opened by his process: no other has it when he is gone."""
    pair = together([operation_named("read_config")], KILL, "mtty")
    scene = scene_of(pair, subject)
    user, killer = scene.actors
    assert not scene.prologue and not scene.epilogue
    assert user.process and user.setup and not killer.process
    assert user.pid in killer.program[0].arguments
    assert user.program[-1].label == "close container"
    reason = why_not([operation_named("read_config")] * 2, KILL, "mtty")
    assert reason and "leave the second one out" in reason


@pytest.mark.parametrize(
    ("name", "opened", "answers"),
    [
        ("owner_of_group_exits", "VFIO_GROUP_GET_DEVICE_FD", {"ok", "EBUSY"}),
        ("owner_of_cdev_exits", "VFIO_DEVICE_BIND_IOMMUFD", {"ok", "EBUSY"}),
    ],
)
def test_an_owner_who_exits_has_opened_the_device_for_himself(subject, name, opened, answers):
    pair = together([operation_named("open_group")], disruption_named(name), "mtty")
    assert {user for user, _ in pair.legal} == answers
    scene = scene_of(pair, subject)
    owner = scene.actors[1]
    assert owner.process and opened in {step.label for step in owner.setup}
    assert not {step.into for step in scene.prologue} & {step.into for step in owner.setup}


@pytest.mark.parametrize("early", [True, False])
def test_a_removal_waits_for_an_owner_to_exit(early):
    pair = together([operation_named("remove_mdev")], OWNER_EXITS, "mtty")
    removal = [called("open", 1, 2), called("write remove", 3, 8 if early else 30)]
    exit_ = [called("exit", 10, 20)]
    opened = [called("VFIO_GROUP_GET_DEVICE_FD", -5, -4)]
    actors = {"actors": (removal, exit_), "outcome": ("ok+ok", "exited")}
    played = SimpleNamespace(prologue=(), setups=((), opened), **actors)
    complaint = judge_of(pair)(played)
    assert bool(complaint and "before the device was closed" in complaint) == early


def called(label: str, start_ns: int, end_ns: int) -> SimpleNamespace:
    number = lib.race_call_number(b"write")
    about = {"number": number, "into": None, "decisive": True}
    step = SimpleNamespace(label=label, takes=False, arguments=(0,), **about)
    return SimpleNamespace(step=step, outcome="ok", start_ns=start_ns, end_ns=end_ns)


@pytest.mark.parametrize("name", ["hot_reset", "hot_reset_by_iommufd"])
def test_a_reset_of_the_bus_expects_what_one_of_the_function_does(name):
    taker, user = disruption_named(name), operation_named("VFIO_DEVICE_RESET")
    missing = {each.under for each in {*user.legal} - {*taker.legal}}
    assert missing == {"the device is removed"} and taker.does <= user.does
    others = [each for each in taker.legal if each not in user.legal]
    assert {outcome for each in others for outcome in each.outcomes} <= {
        "EBUSY",
        "EBADF",
        "skipped",
    }


def test_who_comes_after_a_device_was_pulled_out_may_be_told_what_a_removal_tells():
    for name in ("hot_unplug", "virtual_function_removed"):
        for operation in ("open_group", "open_cdev", "VFIO_GROUP_GET_DEVICE_FD", "read_config"):
            user = operation_named(operation)
            pulled = together([user], disruption_named(name), "nvme")
            unbound = together([user], disruption_named("driver_unbind"), "nvme")
            assert {user for user, _ in pulled.legal} == {user for user, _ in unbound.legal}
