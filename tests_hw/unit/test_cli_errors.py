"""This file checks that what could not be undone after an error is told, too."""

import argparse
import os
import subprocess
import sys

import pytest

from tests_hw.unit.users import as_root, as_user
from vfio_hw import cache, cli
from vfio_hw.errors import HarnessError
from vfio_hw.host import state


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


def test_what_a_terminal_can_not_say_is_escaped():
    program = (
        "import sys; from vfio_hw import cli\n"
        "cli.listing.run = lambda args: print('a café') or 0\n"
        "sys.exit(cli.main(['list']))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (0, b"a caf\\xe9\n"), ended.stderr


@as_root
@pytest.mark.parametrize(
    ("of", "variable"), [(state.directory, state.VARIABLE), (cache.directory, "VFIO_HW_CACHE")]
)
def test_a_user_without_a_home_is_told_what_to_name(monkeypatch, of, variable):
    """A container's user whom its passwd does not know."""
    for name in ("HOME", "XDG_CACHE_HOME", variable):
        monkeypatch.delenv(name, raising=False)
    told = f"user 54321 has no home directory: set HOME, or name a directory in {variable}"
    assert as_user(54321, of) == f"HarnessError: {told}"
