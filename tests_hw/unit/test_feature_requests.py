"""This file checks the table of good requests about features, without any device."""

from vfio_hw.fixtures.features import GOOD, flags_of
from vfio_hw.order import KINDS
from vfio_hw.uapi import lib
from vfio_hw.uapi.families import FEATURE, FEATURES

# Of the CDX bus, and of s390: no device here has them.
ELSEWHERE = {"BUS_MASTER", "ZPCI_ERROR"}


def test_every_declared_feature_is_in_the_table_with_all_that_is_done():
    assert {name.partition(" ")[0] for name in GOOD} == {
        name.removeprefix(f"{FEATURE}_") for name in FEATURES.values
    } - ELSEWHERE


def test_a_request_names_one_feature_and_one_method():
    for name in GOOD:
        flags = flags_of(name)
        assert flags & lib.VFIO_DEVICE_FEATURE_MASK == FEATURES.values[f"{FEATURE}_{name[:-4]}"]
        assert bool(flags & lib.VFIO_DEVICE_FEATURE_GET) == name.endswith(" GET")
        assert bool(flags & lib.VFIO_DEVICE_FEATURE_SET) == name.endswith(" SET")


def test_each_is_of_kinds_that_there_are():
    for name, good in GOOD.items():
        assert set(good.kinds) <= set(KINDS)
        assert good.kinds or name == "PCI_VF_TOKEN SET"
