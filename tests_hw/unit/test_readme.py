"""This file checks what README.md recommends for a terminal: nothing of a record acts on it."""

import os
import shlex
import shutil
import subprocess

import pytest

from vfio_hw.report.events import EventLog, Result
from vfio_hw.session import PROJECT

TEXT = "\x1b]0;x\x07 first\n\x9b2J\u202e\x7f second\r\n\ttab"


@pytest.fixture
def record(tmp_path):
    """A record of a failure in which a device says what it wants a terminal to do."""
    log = EventLog(tmp_path / "events.jsonl")
    log.write(Result(f"t.py::test_x[{TEXT}]", "failed", 1.0, TEXT, "assertion").as_event())
    return log.path


def recommended() -> list[list[str]]:
    """The commands of README.md that read a record."""
    lines = (PROJECT / "README.md").read_text().splitlines()
    return [shlex.split(line) for line in lines if line.startswith("    jq ")]


def test_a_record_can_be_looked_at(record):
    assert all(line.isprintable() for line in record.read_text().splitlines())
    assert record.read_text().isascii()


def test_jq_is_asked_to_escape():
    assert recommended()
    for words in recommended():
        assert "-a" in words and not {"-r", "--raw-output"} & set(words), words


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_what_it_prints_is_escaped(record):
    for words in recommended():
        line = [*words[:-1], os.fspath(record)]
        ended = subprocess.run(line, capture_output=True, text=True, check=True, timeout=30)
        said = ended.stdout
        assert said.isascii() and all(line.isprintable() for line in said.splitlines()), said
        assert "second" in said and "\\u001b]0;x" in said
