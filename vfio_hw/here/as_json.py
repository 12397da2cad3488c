"""What `vfio-hw list` and `doctor` say for a program, as JSON that every parser takes."""

import json
from typing import Any

from vfio_hw.host.text import printable


def as_json(whole: dict[str, Any]) -> str:
    """The text; bytes that were no text are escaped in it, \\\\x80, as on the screen.

    A string of Python's may hold half a surrogate pair, which json.dumps() writes and strict
    parsers refuse.
    """
    return json.dumps(_fit(whole), indent=2)


def _fit(value: Any) -> Any:
    if isinstance(value, str):
        return "".join(printable(each) if "\ud800" <= each <= "\udfff" else each for each in value)
    if isinstance(value, dict):
        return {_fit(key): _fit(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_fit(each) for each in value]
    return value
