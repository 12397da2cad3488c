"""Which kernels promise a thing: those with an option set, those from a release on."""

import os
from dataclasses import dataclass

from vfio_hw.host import kconfig


@dataclass(frozen=True)
class Promise:
    """A promise of the kernels with this option set, from this release on; of all without both."""

    option: str = ""
    since: str = ""

    def holds(self) -> bool:
        """Whether the running kernel promises it."""
        if self.option and self.option not in (kconfig.options() or ()):
            return False
        return not self.since or _number(os.uname().release) >= _number(self.since)


def _number(release: str) -> tuple[int, int]:
    """6.12 of 6.12.107-rc1."""
    major, minor = release.split("-")[0].split(".")[:2]
    return int(major), int(minor)
