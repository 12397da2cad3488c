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

_SEEN, _SOUND, _REPEATED = "seen.json", "sound.json", "repeated.json"
# The harness is made of these; .cdef and .h describe structs, .c runs races and the guest's init.
_SOURCES = (".py", ".c", ".h", ".cdef")


def tests_of(mutant: str) -> tuple[str, ...]:
    """The tests that have seen the mutant before, here; the latest first."""
    return tuple(_all(_SEEN).get(mutant, ()))


def remember(mutant: str, test: str) -> None:
    """Let a test be the first to be tried on this mutant from now on."""
    with _changed(_SEEN) as seen:
        seen[mutant] = [test, *(other for other in seen.get(mutant, ()) if other != test)]


def sound_tests(kernel: Kernel, conditions: str) -> set[str]:
    """The tests that have passed on this kernel, clean, as they and the harness are now."""
    return _as_now(_all(_SOUND).get(_name(kernel, conditions), {}))


def remember_sound(kernel: Kernel, conditions: str, tests: Iterable[str]) -> None:
    """These tests have passed on this kernel, clean, under these conditions."""
    with _changed(_SOUND) as sound:
        sound.setdefault(_name(kernel, conditions), {}).update(_digests(tests))


def forget_sound(kernel: Kernel, conditions: Iterable[str], tests: Iterable[str]) -> None:
    """These tests have failed on this kernel, clean: that they passed says nothing any more."""
    names, tests = [_name(kernel, each) for each in conditions], set(tests)
    kept = _all(_SOUND)
    if not any(tests & kept.get(name, {}).keys() for name in names):
        return
    with _changed(_SOUND) as sound:
        for name in names:
            for test in tests & sound.get(name, {}).keys():
                del sound[name][test]


def repeated_tests(conditions: str) -> set[str]:
    """The tests that have failed once more when they were asked to, as they are now.

    :param conditions: with the key of the mutant and its kernel.
    """
    return _as_now(_all(_REPEATED).get(conditions, {}))


def remember_repeated(conditions: str, test: str) -> None:
    """This test fails under these conditions as often as it is asked to."""
    with _changed(_REPEATED) as repeated:
        repeated.setdefault(conditions, {}).update(_digests([test]))


def _as_now(digests: dict[str, str]) -> set[str]:
    """The tests that have not changed since, nor the harness."""
    now = _digests(digests)
    return {test for test, digest in digests.items() if digest == now[test]}


def _name(kernel: Kernel, conditions: str) -> str:
    image = kernel.image
    return f"{image} {image.stat().st_mtime_ns if image.exists() else 0} {conditions}"


def _digests(tests: Iterable[str]) -> dict[str, str]:
    """For each test a digest of its file, and of all code that has to do with its result."""
    names = list(tests)
    shared = _digest(*_shared()) if names else ""
    files = {name: PROJECT / name.partition("::")[0] for name in names}
    now = {file: _digest(file) for file in set(files.values())}
    return {name: f"{now[file]} {shared}" for name, file in files.items()}


def _shared() -> list[Path]:
    """The harness, and what the tests share."""
    ours = (path for path in (PROJECT / "vfio_hw").rglob("*") if path.suffix in _SOURCES)
    theirs = (path for path in (PROJECT / "tests_hw").rglob("*.py") if not path.match("test_*.py"))
    return sorted([*ours, *theirs])


def _digest(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(PROJECT)}\0".encode())
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()[:16]


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
