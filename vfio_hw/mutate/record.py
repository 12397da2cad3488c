"""The record of a run over mutants: one JSON object a line, only ever appended to."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

CLEAN = "clean"
DETECTED, SURVIVED, UNCLEAR, BAD, EQUIVALENT = (
    "detected",
    "survived",
    "unclear",
    "bad",
    "equivalent",
)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant, or of a clean kernel that was slipped in.

    ``detected``: a test failed. ``survived``: none did, in the time there was. ``unclear``: the
    harness itself failed. ``bad``: it does not apply or compile. ``equivalent``: nobody can see it.
    """

    id: str
    verdict: str
    key: str = ""
    kernel: str = ""
    test: str = ""
    oracle: str = ""
    text: str = ""
    seconds: float = 0.0
    """From power-on to the verdict."""
    build_seconds: float = 0.0
    tests: int = 0
    """How many tests had run by then."""

    def replaced(self, *, key: str, build_seconds: float = 0.0) -> "Verdict":
        """The same, of this build."""
        return replace(self, key=key, build_seconds=build_seconds)


class Record:
    """``mutants.jsonl`` of one results directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / "mutants.jsonl"

    def write(self, verdict: Verdict) -> None:
        """Append one verdict; on disk when this returns."""
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(verdict)) + "\n")

    def read(self) -> list[Verdict]:
        """Every verdict so far."""
        if not self._path.exists():
            return []
        verdicts = []
        for line in self._path.read_text().splitlines():
            try:
                verdicts.append(Verdict(**json.loads(line)))
            except (ValueError, TypeError):
                continue  # cut short by the end of an earlier run
        return verdicts
