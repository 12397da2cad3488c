"""The record of a run over mutants: one JSON object a line, only ever appended to.

The first line holds what the run was asked for, each other one a verdict.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.report.events import opened, readable
from vfio_hw.trust import must_be_ours

CLEAN = "clean"
DETECTED, SURVIVED, UNCLEAR = "detected", "survived", "unclear"
BAD, UNFIT, EQUIVALENT = "bad", "unfit", "equivalent"


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant, or of a clean kernel that was slipped in.

    ``detected``: a test failed, and again when it was repeated, that passes on a clean kernel.
    ``survived``: none did, in the time there was, and some passed. ``unclear``: the harness itself
    failed, no test passed, one failed once only, or a clean kernel gave no answer. ``bad``: it does
    not apply or compile, or could not be loaded. ``unfit``: this kernel lacks what it takes to see
    it. ``equivalent``: nobody can see it.
    """

    id: str
    verdict: str
    key: str = ""
    kernel: str = ""
    test: str = ""
    oracle: str = ""
    text: str = ""
    seconds: float = 0.0
    """From power-on to the failure, or to the end."""
    build_seconds: float = 0.0
    tests: int = 0
    """How many results there were by then, also of tests that were skipped."""
    passed: int = 0
    """How many tests had passed by then: without one nothing was seen."""
    version: str = ""
    """Of the mutant: :func:`vfio_hw.mutate.mutant.version`."""
    again: str = ""
    """How a detection is known to be no accident: the test failed once more ``alone`` or ``after
    the same tests``, did so ``earlier``, or the kernel reported the mutant's code ``by name``."""


@dataclass(frozen=True)
class Asked:
    """What a run was asked for, and so what a later one has to go on with."""

    guest: dict[str, str | int | list[str] | None]
    """The options of :func:`vfio_hw.guest.add_arguments`."""
    corpus: str
    only: list[str]
    budget: float
    seed: int
    selection: list[str]


class Record:
    """``mutants.jsonl`` of one results directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / "mutants.jsonl"

    def begin(self, asked: Asked) -> None:
        """The first line."""
        self._append(asdict(asked))

    def asked(self) -> Asked:
        """What the run was asked for.

        :raises HarnessError: there is no run in this directory, or others can have written what it
            asks for: a kernel to build, mutants and options of pytest, which run code.
        """
        try:
            must_be_ours(self._path, "what it asks for", "begin anew without --resume")
            with open(self._path, opener=readable) as file:
                return Asked(**json.loads(file.readline()))
        except (OSError, ValueError, TypeError):
            raise HarnessError(
                f"{self.directory} holds no run to go on with: name the directory that the"
                " interrupted run printed, or leave --resume out to begin anew"
            ) from None

    def write(self, verdict: Verdict) -> None:
        """Append one verdict; on disk when this returns."""
        self._append(asdict(verdict))

    def read(self) -> list[Verdict]:
        """Every verdict so far."""
        if not self._path.exists():
            return []
        verdicts = []
        for line in self._path.read_text().splitlines()[1:]:
            try:
                verdicts.append(Verdict(**json.loads(line)))
            except (ValueError, TypeError):
                continue  # cut short by the end of an earlier run
        return verdicts

    def _append(self, data: dict[str, object]) -> None:
        with open(self._path, "a+b", opener=opened) as file:
            # A line that was cut short is ended first, or it would take this one with it.
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write(json.dumps(data).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
