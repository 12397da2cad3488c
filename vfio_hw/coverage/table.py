"""What a person reads of a coverage: a line for each file, sums, and what nobody reached."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from vfio_hw.coverage.counts import Coverage, Function, Lines
from vfio_hw.errors import HarnessError

_ALL = ""
_SUMS = ("drivers/vfio/", "samples/vfio-mdev/", _ALL)


def table(coverage: Coverage) -> Iterator[str]:
    """Lines of each file that code was made from, and those of them that ran."""
    width = max(map(len, [*coverage.files, *map(_named, _SUMS)]))
    yield f"{'file':{width}}  lines  reached"
    rows = [(path, _figures(lines)) for path, lines in sorted(coverage.files.items())]
    rows += [(_named(prefix), figures) for prefix, figures in sums(coverage).items()]
    for name, (total, reached) in rows:
        yield f"{name:{width}}  {total:5}  {reached:5} {_percent(total, reached)}"


def compared(one: Coverage, other: Coverage, names: tuple[str, str]) -> Iterator[str]:
    """Both side by side; a file that one of them does not have has no figures there."""
    files = sorted(one.files.keys() | other.files.keys())
    sides = [
        {path: _figures(lines) for path, lines in side.files.items()}
        | {_named(prefix): figures for prefix, figures in sums(side).items()}
        for side in (one, other)
    ]
    rows = files + [_named(prefix) for prefix in _SUMS]
    width, column = max(map(len, rows)), max(20, *map(len, names))
    yield f"{'reached of lines':{width}}  {names[0]:>{column}}  {names[1]:>{column}}"
    for name in rows:
        cells = [_cell(side, name) for side in sides]
        yield f"{name:{width}}  {cells[0]:>{column}}  {cells[1]:>{column}}"


def _cell(side: Mapping[str, tuple[int, int]], name: str) -> str:
    if name not in side:
        return "-"
    total, reached = side[name]
    return f"{reached:5} of {total:5} {_percent(total, reached)}"


def sums(coverage: Coverage) -> dict[str, tuple[int, int]]:
    """Lines and reached lines of all files whose path begins so; of all, under the empty string."""
    found = {}
    for prefix in _SUMS:
        figures = [_figures(li) for path, li in coverage.files.items() if path.startswith(prefix)]
        found[prefix] = (sum(total for total, _ in figures), sum(reached for _, reached in figures))
    return found


def _named(prefix: str) -> str:
    return f"{prefix.rstrip('/') or 'all'} together"


def _figures(lines: Lines) -> tuple[int, int]:
    return lines.total, lines.reached


def _percent(total: int, reached: int) -> str:
    return f"{100 * reached / total:5.1f} %" if total else "    - %"


def uncovered(coverage: Coverage, name: str) -> Iterator[str]:
    """The functions of a file that nobody reached, and the lines of the others.

    :param name: its path in the source, or the end of it.
    :raises HarnessError: it is none of the files that were counted.
    """
    found = [path for path in sorted(coverage.files) if f"/{path}".endswith(f"/{name}")]
    if not found:
        raise HarnessError(f"no lines of {name} were counted: there is {', '.join(coverage.files)}")
    for path in found:
        lines = coverage.files[path]
        yield f"{path}: {lines.total - lines.reached} of {lines.total} lines were not reached"
        yield from _uncovered(lines, _text(Path(coverage.source, path)))


def _uncovered(lines: Lines, text: list[str]) -> Iterator[str]:
    inside = {function: _of(lines, function) for function in lines.functions}
    for function in sorted(inside, key=lambda f: (f.first, f.name)):
        counts = inside[function]
        missed = [line for line, count in counts.items() if not count]
        if counts and len(missed) == len(counts):
            lines_ = f"{len(missed)} lines from {function.first} to {function.last}"
            yield f"{function.name}: never ({lines_})"
        elif missed:
            yield f"{function.name}:"
            for line in missed:
                code = text[line - 1].strip() if line <= len(text) else ""
                yield f"{line:6}  {code}".rstrip()


def _of(lines: Lines, function: Function) -> dict[int, int]:
    span = range(function.first, function.last + 1)
    return {line: lines.counts[line] for line in span if line in lines.counts}


def _text(path: Path) -> list[str]:
    """The lines of the source; none when it is not there any more."""
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
