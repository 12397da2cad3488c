"""This file checks that no option is lost between a fragment and the kernel's configuration."""

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import config, names
from vfio_hw.vm.kernels.config import Option

FRAGMENT = """\
# A reason.
CONFIG_A=y
# CONFIG_B is not set
CONFIG_TEXT="some text"

# Optional: came late.
CONFIG_LATE=m
"""


@pytest.fixture
def source(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "Kconfig").write_text('config A\n\tbool "A"\n')
    (tmp_path / "sub" / "Kconfig.more").write_text('menuconfig TEXT\n\tstring "T"\n')
    return tmp_path


def test_a_fragment_is_read_with_values_and_what_is_not_to_be_set():
    assert config.parse(FRAGMENT) == {
        "CONFIG_A": Option("CONFIG_A", "y"),
        "CONFIG_B": Option("CONFIG_B", "n"),
        "CONFIG_TEXT": Option("CONFIG_TEXT", '"some text"'),
        "CONFIG_LATE": Option("CONFIG_LATE", "m", optional=True),
    }


def test_a_later_fragment_has_the_last_word():
    merged = f"{FRAGMENT}\n# Another reason.\nCONFIG_B=y\n# CONFIG_A is not set\n"
    options = config.parse(merged)
    assert (options["CONFIG_A"].value, options["CONFIG_B"].value) == ("n", "y")


@pytest.mark.parametrize(
    "text", ["CONFIG_A=y\n", "# A reason.\n\nCONFIG_A=y\n", "# A reason.\nCONFIG_A\n", "A=y\n"]
)
def test_an_option_without_a_reason_or_a_line_that_is_none_is_refused(text):
    with pytest.raises(HarnessError, match="fragment line"):
        config.parse(text)


def test_what_came_out_as_asked_is_accepted(source):
    have = config.settings('CONFIG_A=y\nCONFIG_TEXT="some text"\nCONFIG_LATE=m\nCONFIG_MORE=y\n')
    assert config.verify(config.parse(FRAGMENT), have, source) == []


def test_every_option_that_differs_is_named(source):
    have = config.settings("# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_LATE=m\n")
    with pytest.raises(HarnessError) as refused:
        config.verify(config.parse(FRAGMENT), have, source)
    assert "CONFIG_A is n instead of y" in str(refused.value)
    assert "CONFIG_B is y instead of n" in str(refused.value)
    assert 'CONFIG_TEXT is n instead of "some text"' in str(refused.value)
    assert "CONFIG_LATE" not in str(refused.value)


def test_a_module_is_not_taken_for_a_built_in(source):
    with pytest.raises(HarnessError, match="CONFIG_A is m instead of y"):
        config.verify({"CONFIG_A": Option("CONFIG_A", "y")}, {"CONFIG_A": "m"}, source)


def test_an_optional_option_may_be_missing_only_where_the_kernel_does_not_know_it(source):
    unknown = {"CONFIG_LATE": Option("CONFIG_LATE", "m", optional=True)}
    assert config.verify(unknown, {}, source) == ["CONFIG_LATE"]
    known = {"CONFIG_TEXT": Option("CONFIG_TEXT", "y", optional=True)}
    with pytest.raises(HarnessError, match="CONFIG_TEXT is n instead of y"):
        config.verify(known, {}, source)


@pytest.mark.parametrize("name", names._FRAGMENTS)
def test_the_fragments_of_every_kernel_are_well_formed(name):
    options = config.parse(config.read(names._FRAGMENTS[name]))
    assert options["CONFIG_VFIO"].value == "m"
    assert ("CONFIG_SLUB" in options) == (names._SERIES[name] == "6.1")
    assert ("CONFIG_CONFIGFS_FS" in options) == (names._SERIES[name] in ("6.1", "6.12"))


def test_the_fragment_of_every_guest_is_well_formed():
    options = config.parse(config.read(["base"]))
    assert options["CONFIG_VFIO"].value == "m"
    assert options["CONFIG_SLUB_TINY"].value == "n"
    assert options["CONFIG_IOMMUFD"].optional
    assert not options["CONFIG_VFIO_PCI"].optional


def test_a_fragment_that_is_not_there_is_named():
    with pytest.raises(HarnessError, match=r"nosuch\.config"):
        config.read(["nosuch"])
