"""How tests are shared out among guests that run at the same time: by whole files."""

from collections.abc import Sequence

# A race takes as long as its budget lets it, other tests a fraction of a second.
_RACE = 20


def shared_out(tests: Sequence[str], guests: int) -> list[list[str]]:
    """The tests of each guest, in their order; no more guests than there are files.

    A file stays whole, because importing it costs as much as many of its tests. The heaviest goes
    first to whoever has least.
    """
    files: dict[str, list[str]] = {}
    for test in tests:
        files.setdefault(test.partition("::")[0], []).append(test)
    weights = {name: len(of) * (_RACE if "/race/" in name else 1) for name, of in files.items()}
    loads = [0] * max(1, min(guests, len(files)))
    owner: dict[str, int] = {}
    for name in sorted(files, key=lambda name: -weights[name]):
        owner[name] = loads.index(min(loads))
        loads[owner[name]] += weights[name]
    parts: list[list[str]] = [[] for _ in loads]
    for name, of in files.items():
        parts[owner[name]] += of
    return parts
