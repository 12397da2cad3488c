"""The catalogue is whole and its matrix is what it says; nothing here runs."""

from collections import Counter
from dataclasses import replace

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.race.catalogue import effects, listing
from vfio_hw.race.catalogue.choice import SAMPLE, chosen, matrix
from vfio_hw.race.catalogue.disruptions import DISRUPTIONS
from vfio_hw.race.catalogue.entry import KINDS
from vfio_hw.race.catalogue.pairs import (
    EXCLUDED,
    OPERATIONS,
    TRIPLES,
    disruption_named,
    operation_named,
    pairs,
    together,
    triples,
    why_not,
)
from vfio_hw.race.catalogue.play import alone_of, scene_of
from vfio_hw.race.catalogue.scenes import SCENES
from vfio_hw.race.layout import Layout
from vfio_hw.uapi import ffi

ENTRIES = [*OPERATIONS, *DISRUPTIONS]
EFFECTS = {
    value for name, value in vars(effects).items() if name.isupper() and value != effects.GONE
}


def test_the_matrix_is_as_large_as_it_has_to_be():
    assert len(OPERATIONS) >= 40
    assert len(DISRUPTIONS) >= 12
    count = Counter(pair.kind for pair in pairs())
    assert set(count) == set(KINDS)
    assert count.total() >= 300


def test_names_are_names():
    names = [pair.name for pair in matrix()]
    assert len(names) == len(set(names))
    assert not any(set(name) & set(" ,=[]/:") for name in names)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_says_what_comes_of_it_and_why(entry):
    assert entry.scenes and {*entry.scenes} <= {*SCENES}
    assert entry.kinds and {*entry.kinds} <= {*KINDS}
    assert {*entry.does} <= EFFECTS | {""}
    for each in entry.legal:
        assert each.reason and each.outcomes
        assert each.under in EFFECTS | {""}
        assert {*each.scenes} <= {*entry.scenes}
    for kind in entry.kinds:
        for scene in entry.scenes:
            assert entry.outcomes(kind, scene, frozenset())


def test_what_an_entry_has_to_expect_it_meets_in_some_pair_or_triple():
    met = {
        (entry.name, each)
        for pair in matrix()
        for entry, effects in pair.meetings
        for each in entry.holding(pair.kind, pair.scene, effects)
    }
    never = [(e.name, each.under) for e in ENTRIES for each in e.legal if (e.name, each) not in met]
    assert not [(name, under) for name, under in never if under]


def test_a_pair_expects_what_its_partner_does_and_nothing_else():
    user, taker = operation_named("VFIO_GROUP_GET_DEVICE_FD"), disruption_named("mdev_remove")
    pair = together([user], taker, "mtty")
    assert pair.scene == "container"
    assert pair.legal == {("ok", "ok+ok"), ("ENODEV", "ok+ok")}
    resettable = together([user], disruption_named("driver_unbind"), "e1000e")
    assert resettable.legal - pair.legal == {("EAGAIN", "ok+ok")}


def test_of_two_users_each_expects_the_other():
    user, taker = operation_named("open_group"), disruption_named("mdev_remove")
    pair = together([user, user], taker, "mtty")
    assert ("EBUSY", "ok+ok", "ok") in pair.legal
    assert ("ok", "ok+ok", "EINVAL") not in pair.legal
    assert pair.name == "open_group-and-open_group-against-mdev_remove-mtty"


def test_every_triple_can_be_on_some_device():
    names = {(pair.users[0].name, pair.users[1].name, pair.disruption.name) for pair in triples()}
    assert names == {*TRIPLES}


@pytest.mark.parametrize(("operation", "disruption", "reason"), EXCLUDED)
def test_what_is_excluded_would_be_a_pair_otherwise(operation, disruption, reason):
    user, taker = operation_named(operation), disruption_named(disruption)
    kind = next(kind for kind in user.kinds if kind in taker.kinds)
    assert why_not([user], taker, kind) == reason
    assert {*user.scenes} & {*taker.scenes}
    with pytest.raises(HarnessError, match="can not race"):
        together([user], taker, kind)


@pytest.mark.parametrize(
    ("operation", "disruption", "kind", "words"),
    [
        ("VFIO_DEVICE_RESET", "sysfs_reset", "edu", "edu can not do VFIO_DEVICE_RESET"),
        ("IOMMU_IOAS_MAP", "unmap_all", "mtty", "no scene suits them all"),
    ],
)
def test_what_can_not_be_is_refused_with_a_reason(operation, disruption, kind, words):
    with pytest.raises(HarnessError, match=words):
        together([operation_named(operation)], disruption_named(disruption), kind)


def test_what_is_not_in_the_catalogue_is_told_with_what_is_near():
    with pytest.raises(
        HarnessError, match="no operation get_device_fd: choose one of VFIO_GROUP_GET"
    ):
        operation_named("get_device_fd")
    with pytest.raises(HarnessError, match="no disruption nothing: choose one of mdev_remove"):
        disruption_named("nothing")


def test_the_seed_draws_the_sample():
    first, again, other = (chosen(str(SAMPLE), seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len({each.pair.name for each in first}) == SAMPLE


def test_pairs_are_chosen_by_name():
    one, two = chosen("read_config-against-mdev_remove-mtty=2.5,open_cdev-against-detach-edu", 1)
    assert (one.pair.operation.name, one.seconds) == ("read_config", 2.5)
    assert (two.pair.kind, two.seconds) == ("edu", None)
    assert not one.alone and chosen(f"{one.pair.name}=2.5", 1) == [replace(one, alone=True)]


def test_what_is_drawn_is_for_the_machine():
    for machine in ("hot-plug", "sr-iov"):
        own = chosen("all", 1, machine)
        assert {each.pair.disruption.machine for each in own} == {machine}
        assert {each.pair.place for each in own} <= {f"{kind}_{machine}" for kind in KINDS}
        assert {each.pair.name for each in chosen("20", 1, machine)} <= {e.pair.name for e in own}
    anywhere = chosen("all", 1)
    assert not any(each.pair.disruption.machine for each in anywhere)
    assert [*chosen("all", 1, "intel-iommu")] == anywhere
    assert {each.pair.place for each in anywhere} == {*KINDS}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("0", "leaves nothing to run"),
        ("nonsense", "no pair nonsense"),
        ("read_config-against-mdev_remove-mtty=0", "'0' is no time"),
        ("read_config-against-mdev_remove-mtty=soon", "'soon' is no time"),
    ],
)
def test_a_choice_that_can_not_be_is_refused(words, said):
    with pytest.raises(HarnessError, match=said):
        chosen(words, 1)


def test_the_listing_says_why(tmp_path):
    assert "module_unload" in listing.everything()
    assert "e1000e nvme on the machine hot-plug\n" in listing.everything()
    pair = together([operation_named("open_group")], disruption_named("mdev_remove"), "mtty")
    assert "vfio_group_fops_open()" in listing.of(pair)


def test_every_pair_fits_into_the_engine(subject):
    """Slots, steps and memory; every slot filled once; every actor decisive."""
    shared = ffi.new("struct race *")[0]
    for pair in matrix():
        scene = scene_of(pair, replace(subject, kind=pair.kind))
        Layout(shared, scene.prologue, scene.actors, scene.epilogue)
        assert all(any(step.decisive for step in actor.program) for actor in scene.actors)


def test_every_operation_alone_fits_into_the_engine(subject):
    shared = ffi.new("struct race *")[0]
    for operation in OPERATIONS:
        for scene in operation.scenes:
            prepared = alone_of(operation, scene, subject)
            (actor,) = prepared.actors
            Layout(shared, prepared.prologue, [actor], prepared.epilogue)


@pytest.mark.parametrize(
    ("disruption", "operation"),
    [
        ("second_group_open", "open_group"),
        ("second_bind", "open_cdev_and_VFIO_DEVICE_BIND_IOMMUFD"),
        ("second_device_fd", "VFIO_GROUP_GET_DEVICE_FD"),
        ("unset_container", "VFIO_GROUP_UNSET_CONTAINER"),
        ("unmap_all", "VFIO_DMA_UNMAP_FLAG_ALL"),
        ("kvm_forgets", "KVM_DEV_VFIO_FILE_DEL"),
        ("device_reset", "VFIO_DEVICE_RESET"),
    ],
)
def test_a_disruption_expects_what_the_same_operation_does(disruption, operation):
    taker, user = disruption_named(disruption), operation_named(operation)
    own = [each for each in taker.legal if each not in user.legal]
    # A disruption meets no other one, and no operation that is done in other scenes.
    met = {
        effect
        for pair in matrix()
        for entry, others in pair.meetings
        if entry is taker
        for effect in others
    }
    assert not [each.under for each in {*user.legal} - {*taker.legal} if each.under in met]
    # What is left comes of scenes in which the user has something open.
    assert all(not each.under and each.scenes for each in own)


@pytest.mark.parametrize(
    ("disruption", "answers"),
    [
        ("second_group_open", "ENODEV ENXIO ENOENT"),
        ("second_bind", "ENODEV+skipped ENXIO+skipped ENOENT+skipped"),
        ("second_device_fd", "ENODEV"),
        ("unset_container", "EINVAL"),
        ("unmap_all", "EINVAL"),
    ],
)
def test_who_comes_after_a_user_removed_the_device_may_be_told_so(disruption, answers):
    pair = together([operation_named("remove_mdev")], disruption_named(disruption), "mtty")
    assert {("ok+ok", answer) for answer in answers.split()} <= pair.legal


@pytest.mark.parametrize("what", ["group", "container", "iommufd", "vm", "kvm_vfio"])
def test_of_two_who_close_the_same_the_user_has_a_duplicate_that_nobody_takes(what):
    users, taker = [operation_named(f"close_{what}")], disruption_named(f"close_{what}_elsewhere")
    pair = together(users, taker, "mtty")
    assert {user for user, _ in pair.legal} == {"ok"}


def test_an_empty_slot_behind_a_pointer_skips_the_call():
    taker = disruption_named("close_group_elsewhere")
    for name in ("KVM_DEV_VFIO_FILE_ADD", "KVM_DEV_VFIO_FILE_DEL"):
        pair = together([operation_named(name)], taker, "mtty")
        assert {("skipped", "ok"), ("EBADF", "ok"), ("ok", "ok")} <= pair.legal
