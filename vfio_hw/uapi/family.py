"""A family of constants: names of the headers that say the same kind of thing.

Its members are taken from the declarations: a constant that is declared anew with such a name is in
its family at once.
"""

import functools
import operator
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vfio_hw.uapi import ffi, lib


def _embedded(text: Any) -> tuple[str, ...]:
    return tuple(os.fsdecode(ffi.string(text)).split())


#: All of the declarations but the requests, and those.
CONSTANTS: tuple[str, ...] = _embedded(lib.VFIO_HW_CONSTANTS)
REQUESTS: Mapping[str, int] = {name: getattr(lib, name) for name in _embedded(lib.VFIO_HW_REQUESTS)}


@dataclass(frozen=True)
class Family:
    """Constants of which a member of a request holds one, or as bits several.

    :param names: what all of the constant's name matches.
    :param where: request, its struct and the member; both "" when the argument is the number. None
        where no member shows it: what sees it tells :mod:`vfio_hw.uapi.calls`, or nothing does.
    :param mask: the bits of the member that are the number.
    """

    title: str
    names: str
    where: tuple[tuple[str, str, str], ...] = ()
    mask: int = -1
    bits: bool = False
    values: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        pattern = re.compile(self.names)
        self.values.update({n: getattr(lib, n) for n in CONSTANTS if pattern.fullmatch(n)})

    def named(self, value: int) -> Iterator[str]:
        """The constants that a value of the member stands for.

        Of bits: none, where there are others among them; what is refused then is the others.
        """
        if self.bits and value & ~functools.reduce(operator.or_, self.values.values(), 0):
            return
        for name, own in self.values.items():
            # Of devices that are not PCI: the same numbers, for other things.
            if not name.startswith(("VFIO_CCW_", "VFIO_AP_")) and (
                value & own if self.bits else value & self.mask == own
            ):
                yield name
