"""Parameters of loaded modules, as /sys/module shows them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError
from vfio_hw.host.sysfs import attribute, write

MODULES = Path("/sys/module")


@contextlib.contextmanager
def parameter(module: str, name: str, value: str, option: str = "") -> Iterator[None]:
    """The module's parameter has this value inside, and the one it had before after.

    :param value: as it is read back, ``Y`` or ``N`` for what is on or off.
    :raises HarnessError: the module has no such parameter, or did not take the value.
    """
    path = MODULES / module / "parameters" / name
    before = attribute(path)
    if before is None:
        needed = f" on a kernel with {option}" if option else ""
        raise HarnessError(f"there is no {path}: load the module {module}{needed}")
    _set(path, value)
    try:
        yield
    finally:
        _set(path, before)


def _set(path: Path, value: str) -> None:
    write(path, value)
    if (now := attribute(path)) != value:
        raise HarnessError(f"{path} was set to {value} and says {now}: see the kernel log")
