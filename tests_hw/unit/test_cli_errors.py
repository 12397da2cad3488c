"""This file checks that what could not be undone after an error is told, too."""

import argparse

import pytest

from vfio_hw import cli
from vfio_hw.errors import HarnessError


@pytest.mark.parametrize("kind", [HarnessError, OSError, KeyboardInterrupt])
def test_the_notes_of_an_error_are_printed(monkeypatch, capsys, kind):
    def failing(args: argparse.Namespace) -> int:
        error = kind(5, "no") if kind is OSError else kind("no")
        error.add_note("failed    0000:00:05.0 driver: it is '' \x1b[31m")
        raise error

    monkeypatch.setattr(cli.listing, "run", failing)
    if kind is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            cli.main(["list"])
    else:
        assert cli.main(["list"]) == 3
    told = capsys.readouterr().err.splitlines()
    assert told[-1] == "vfio-hw: failed    0000:00:05.0 driver: it is '' \\x1b[31m"
