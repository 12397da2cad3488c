"""This file checks that no name that somebody else chose moves a terminal's cursor."""

import os

import pytest

from vfio_hw.here.check import NOTE, Check
from vfio_hw.here.doctor import line
from vfio_hw.host.text import printable


@pytest.mark.parametrize(
    "text, shown",
    [
        ("eth0", "eth0"),
        ("two words, é", "two words, é"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("ab\u202ecd\u200b", "ab\\u202ecd\\u200b"),
        ("\U000e0041", "\\U000e0041"),
        (os.fsdecode(b"\xff\x80"), "\\xff\\x80"),
    ],
)
def test_what_is_not_simply_seen_is_escaped(text, shown):
    assert printable(text) == shown


def test_a_check_is_one_line():
    said = line(Check("device\n", NOTE, "named \x1b[2J", "do\rthis"))
    assert said.isprintable() and "named \\x1b[2J: do\\rthis" in said
