"""This file checks what is said of rounds that came to what may come of their pair; made up."""

from dataclasses import replace

import pytest

from vfio_hw.race.catalogue.judging import judge_of
from vfio_hw.race.catalogue.pairs import disruption_named, operation_named, together
from vfio_hw.race.catalogue.play import scene_of
from vfio_hw.race.outcome import Call, Round

EARLY, MIDDLE, LATE = 1000, 2000, 3000


def judged(
    subject, names: str, outcomes: str, *begins: int, kind: str = "mtty", robbed: str = ""
) -> str | None:
    """The judge's word on a round of those users and a disruption, each beginning at its time.

    A call takes 10 ns, and the next begins 10 later; what was skipped has no time.

    :param robbed: the label of a call that was skipped, and is not decisive.
    """
    *users, taker = names.split()
    pair = together([operation_named(name) for name in users], disruption_named(taker), kind)
    words = tuple(outcomes.split())
    assert words in pair.legal, f"{words} is not among {sorted(pair.legal)}"
    scene = scene_of(pair, replace(subject, kind=kind))
    actors = []
    for actor, outcome, begin in zip(scene.actors, words, begins, strict=True):
        parts, calls = iter(outcome.split("+")), []
        for place, step in enumerate(actor.program):
            part = next(parts) if step.decisive else "skipped" if step.label == robbed else "ok"
            start = begin + 20 * place if part != "skipped" else 0
            calls.append(Call(step, part, 0, 0, start, start and start + 10))
        actors.append(tuple(calls))
    setups = tuple(
        tuple(Call(step, "ok", 0, 0, 1 + place, 2 + place) for place, step in enumerate(a.setup))
        for a in scene.actors
    )
    played = Round((), (), (), tuple(actors), (), 0, (), setups)
    assert played.outcome == words
    return judge_of(pair)(played)


@pytest.mark.parametrize(
    ("names", "outcomes", "kind"),
    [
        ("open_group second_group_open", "EBUSY EBUSY", "mtty"),
        ("remove_mdev mdev_remove", "ENODEV+skipped ENODEV+skipped", "mtty"),
        ("unbind_driver driver_unbind", "ok+ENODEV ok+ENODEV", "edu"),
        ("KVM_DEV_VFIO_FILE_DEL kvm_forgets", "ENOENT ENOENT", "mtty"),
        ("VFIO_GROUP_GET_DEVICE_FD unset_container", "EINVAL EBUSY", "mtty"),
        ("VFIO_GROUP_GET_DEVICE_FD module_unload", "ENODEV EAGAIN", "mtty"),
        ("VFIO_DEVICE_RESET device_reset", "EAGAIN EAGAIN", "nvme"),
    ],
)
def test_nobody_is_refused_on_account_of_one_who_was_refused_too(subject, names, outcomes, kind):
    complaint = judged(subject, names, outcomes, MIDDLE, MIDDLE, kind=kind)
    assert complaint and "nobody else had done anything that explains it" in complaint


def test_of_three_somebody_wins(subject):
    names = "KVM_DEV_VFIO_FILE_ADD KVM_DEV_VFIO_FILE_ADD close_kvm_vfio_elsewhere"
    assert judged(subject, names, "EEXIST ok ok", MIDDLE, MIDDLE, MIDDLE) is None
    names = "open_group open_group driver_unbind"
    complaint = judged(subject, names, "EBUSY ok+ok EBUSY", MIDDLE, LATE, MIDDLE, kind="edu")
    assert complaint and "explains" in complaint


@pytest.mark.parametrize(
    ("names", "outcomes", "kind"),
    [
        ("open_group mdev_remove", "ENODEV ok+ok", "mtty"),
        ("open_group second_group_open", "EBUSY ok", "mtty"),
        ("remove_mdev mdev_remove", "ENOENT+skipped ok+ok", "mtty"),
        ("unbind_driver driver_unbind", "ok+ENODEV ok+ok", "edu"),
        ("KVM_DEV_VFIO_FILE_DEL kvm_forgets", "ENOENT ok", "mtty"),
        ("read_config close_device_elsewhere", "EBADF ok", "mtty"),
        ("VFIO_GROUP_GET_DEVICE_FD module_unload", "ENODEV ok", "mtty"),
    ],
)
def test_nobody_is_refused_before_the_other_has_begun(subject, names, outcomes, kind):
    complaint = judged(subject, names, outcomes, EARLY, MIDDLE, kind=kind)
    assert complaint and "explains" in complaint
    assert judged(subject, names, outcomes, MIDDLE, MIDDLE, kind=kind) is None
    assert judged(subject, names, outcomes, MIDDLE + 5, MIDDLE, kind=kind) is None


def test_the_disruption_is_not_refused_before_the_user_has_begun(subject):
    names = "open_group second_group_open"
    assert "explains" in str(judged(subject, names, "ok EBUSY", MIDDLE, EARLY))
    assert judged(subject, names, "ok EBUSY", MIDDLE, MIDDLE) is None
    assert "explains" in str(
        judged(subject, "VFIO_GROUP_GET_DEVICE_FD module_unload", "ok EAGAIN", MIDDLE, EARLY)
    )


@pytest.mark.parametrize(
    ("names", "outcomes"),
    [
        # What a slot holds is taken before the close of it says when it began.
        ("read_config close_device_elsewhere", "skipped ok"),
        ("KVM_DEV_VFIO_FILE_ADD close_group_elsewhere", "skipped ok"),
        # What the owner has open he opened before he came to the barrier.
        ("open_group owner_of_group_exits", "EBUSY exited"),
        ("open_group owner_of_cdev_exits", "EBUSY exited"),
    ],
)
def test_who_may_have_been_reached_before_is_not_complained_of(subject, names, outcomes):
    assert judged(subject, names, outcomes, EARLY, MIDDLE) is None


def test_who_was_refused_late_may_have_kept_others_out_before(subject):
    names = "open_group open_cdev_and_VFIO_DEVICE_BIND_IOMMUFD driver_unbind"
    begins = MIDDLE, MIDDLE + 45, MIDDLE
    assert judged(subject, names, "EBUSY ok+ok ok+EAGAIN", *begins, kind="nvme") is None
    complaint = judged(subject, names, "EBUSY ok+ok ok+EBUSY", *begins, kind="nvme")
    assert complaint and "explains" in complaint


def test_what_follows_from_an_empty_slot_has_no_time_either(subject):
    names, begins = "VFIO_SET_IOMMU close_group_elsewhere", (EARLY, MIDDLE)
    assert judged(subject, names, "EINVAL ok", *begins, robbed="VFIO_GROUP_SET_CONTAINER") is None
    for robbed in ("", "VFIO_GROUP_UNSET_CONTAINER"):
        assert "explains" in str(judged(subject, names, "EINVAL ok", *begins, robbed=robbed))


@pytest.mark.parametrize(
    ("names", "outcomes"),
    [
        # In this scene the module is held by whoever has the device open.
        ("read_config module_unload", "ok EAGAIN"),
        ("create_mdev module_unload", "ENODEV+skipped ok"),
        ("VFIO_DEVICE_BIND_IOMMUFD device_reset", "ok EINVAL"),
        ("KVM_DEV_VFIO_FILE_DEL kvm_replaced", "ENOENT ok+ok"),
        ("VFIO_GROUP_SET_CONTAINER VFIO_SET_IOMMU close_container_elsewhere", "EINVAL ok EINVAL"),
        ("mig_STOP_COPY mig_read device_reset", "EINVAL ok skipped"),
    ],
)
def test_a_refusal_that_another_explains_is_legal(subject, names, outcomes):
    begins = [MIDDLE] * len(outcomes.split())
    assert judged(subject, names, outcomes, *begins) is None


def test_a_group_has_one_holder(subject):
    names = "open_group second_group_open"
    assert "nobody else had it open" in str(judged(subject, names, "EBUSY ok", LATE, MIDDLE))
    assert "two users" in str(judged(subject, names, "ok ok", MIDDLE, MIDDLE))
    assert judged(subject, names, "ok ok", MIDDLE, LATE) is None
    assert "two users" not in str(
        judged(subject, "open_group owner_of_group_exits", "ok exited", LATE, MIDDLE)
    )
    assert "two users" in str(
        judged(subject, "open_group owner_of_group_exits", "ok exited", EARLY, LATE)
    )


def test_what_a_fault_has_to_do_with_is_left_alone(subject):
    pair = together([operation_named("open_group")], disruption_named("second_group_open"), "mtty")
    scene = scene_of(pair, subject)
    actors = tuple(
        tuple(Call(step, outcome, 0, 0, 10, 20) for step in actor.program)
        for actor, outcome in zip(scene.actors, ("ENOMEM", "EBUSY"), strict=True)
    )
    played = Round((), (), (), actors, (), 0, (), ((), ()))
    assert judge_of(pair)(played) is None
