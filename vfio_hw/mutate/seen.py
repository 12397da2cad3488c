"""Which tests are tried first on a mutant, and which last."""

import json
from collections.abc import Iterable

from vfio_hw import cache
from vfio_hw.report.known import Known


def tests_of(mutant: str) -> tuple[str, ...]:
    """The tests that have seen the mutant before, here; the latest first."""
    return tuple(_all().get(mutant, ()))


def remember(mutant: str, test: str) -> None:
    """Let a test be the first to be tried on this mutant from now on."""
    with cache.locked("seen", "remembering who saw a mutant", lambda text: None):
        seen = _all()
        seen[mutant] = [test, *(other for other in seen.get(mutant, ()) if other != test)]
        path = cache.directory() / "seen.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(seen, indent=1, sort_keys=True))
        partial.replace(path)


def _all() -> dict[str, list[str]]:
    try:
        found: dict[str, list[str]] = json.loads((cache.directory() / "seen.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def known_tests(finds: Iterable[Known], release: str) -> tuple[str, ...]:
    """Patterns of the tests that fail on a clean kernel too: they tell nothing about a mutant."""
    return tuple(
        pattern for find in finds for pattern in find.tests if find.concerns(pattern, release)
    )
