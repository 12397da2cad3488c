"""What earlier runs over mutants, here, have shown about tests: it saves the next one time."""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vfio_hw import cache
from vfio_hw.report.known import Known
from vfio_hw.session import PROJECT
from vfio_hw.vm.kernels import Kernel

_SEEN, _SOUND = "seen.json", "sound.json"


def tests_of(mutant: str) -> tuple[str, ...]:
    """The tests that have seen the mutant before, here; the latest first."""
    return tuple(_all(_SEEN).get(mutant, ()))


def remember(mutant: str, test: str) -> None:
    """Let a test be the first to be tried on this mutant from now on."""
    with _changed(_SEEN) as seen:
        seen[mutant] = [test, *(other for other in seen.get(mutant, ()) if other != test)]


def sound_tests(kernel: Kernel) -> set[str]:
    """The tests that have passed on this kernel, clean, as their files are now."""
    passed = _all(_SOUND).get(_name(kernel), {})
    files = {_file(test) for test in passed}
    now = {file: _digest(file) for file in files}
    return {test for test, digest in passed.items() if digest == now[_file(test)]}


def remember_sound(kernel: Kernel, tests: Iterable[str]) -> None:
    """These tests have passed on this kernel, clean."""
    with _changed(_SOUND) as sound:
        passed = sound.setdefault(_name(kernel), {})
        passed |= {test: _digest(_file(test)) for test in tests}


def _name(kernel: Kernel) -> str:
    image = kernel.image
    return f"{image} {image.stat().st_mtime_ns if image.exists() else 0}"


def _file(test: str) -> Path:
    return PROJECT / test.partition("::")[0]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes() if file.is_file() else b"").hexdigest()[:16]


@contextlib.contextmanager
def _changed(name: str) -> Iterator[dict[str, Any]]:
    with cache.locked("seen", "remembering what tests saw", lambda text: None):
        data = _all(name)
        yield data
        path = cache.directory() / name
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(data, indent=1, sort_keys=True))
        partial.replace(path)


def _all(name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((cache.directory() / name).read_text())
    except (OSError, ValueError):
        return {}
    return found


def known_tests(finds: Iterable[Known], release: str) -> tuple[str, ...]:
    """Patterns of the tests that fail on a clean kernel too: they tell nothing about a mutant."""
    return tuple(
        pattern for find in finds for pattern in find.tests if find.concerns(pattern, release)
    )
