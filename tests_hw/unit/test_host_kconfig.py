"""This file checks what is read of a kernel's configuration."""

import gzip

from vfio_hw.host.kconfig import options


def test_built_in_and_module_count_and_nothing_else(tmp_path):
    config = tmp_path / "config.gz"
    text = 'CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=n\nCONFIG_E="y"\nCONFIG_F=16\n'
    config.write_bytes(gzip.compress(text.encode()))
    assert options(config) == {"CONFIG_A", "CONFIG_B"}


def test_a_kernel_that_does_not_say_is_none(tmp_path):
    assert options(tmp_path / "config.gz") is None
