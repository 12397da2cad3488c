"""Functions that are to be slow are looked for; nothing is slowed here."""

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.race.breakpoint import held_up
from vfio_hw.race.widen import widened


@pytest.fixture
def symbols(tmp_path):
    """As /proc/kallsyms, for root and for others."""
    lines = [
        "ffffffff81000010 T once",
        "ffffffff81000020 d data",
        "ffffffffc0000030 t hidden\t[vfio]",
        *(f"ffffffff8100{number:04x} t often" for number in range(5)),
    ]
    shown = tmp_path / "kallsyms"
    shown.write_text("\n".join(lines).replace("ffffffffc0000030", "0" * 16) + "\n")
    return shown


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["none"], "the kernel has no function none"),
        (["data"], "the kernel has no function data"),
        (["once", "often"], "are 6 places in the kernel, and there are 4 breakpoints"),
        (["hidden"], "hides where hidden is: run it as root"),
    ],
)
def test_what_can_not_be_slowed_is_refused(symbols, names, said):
    with pytest.raises(HarnessError, match=said), held_up(names, symbols):
        pass


def test_a_switch_names_its_function():
    with (
        pytest.raises(HarnessError, match="as slow-function:: choose"),
        widened(["slow-function:"]),
    ):
        pass
    with (
        pytest.raises(HarnessError, match="the kernel has no function no_such_function"),
        widened(["slow-function:no_such_function"]),
    ):
        pass
