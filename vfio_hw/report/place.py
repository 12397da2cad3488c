"""A results directory, held open: who may rename it does not choose what is written by us."""

import contextlib
import os
from pathlib import Path
from types import TracebackType

from vfio_hw.errors import HarnessError


class Place:
    """The directory: names are looked up in it, wherever its own name leads by now.

    :param flags: further ones to open it with.
    """

    def __init__(self, path: Path, flags: int = 0) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags)

    @classmethod
    def begun(cls, path: Path) -> "Place":
        """One that this process has just made, and nobody has put another in its place since.

        :raises HarnessError: somebody has.
        """
        with contextlib.suppress(OSError):
            place = cls(path, os.O_NOFOLLOW)
            status = os.fstat(place._fd)
            ours = status.st_uid == os.geteuid() and not status.st_mode & 0o022
            if ours and not any(os.scandir(place._fd)):
                return place
            place.close()
        raise HarnessError(
            f"somebody else has changed {path}, which was just made: name with --results a"
            " directory that only you can change"
        )

    def made(self, name: str) -> int:
        """A new file in it, opened for reading and appending; returns the descriptor.

        :raises OSError: the name is taken.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(name, flags, 0o644, dir_fd=self._fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path / name)) from None

    def write(self, name: str, text: str) -> Path:
        """A new file of this text, in place of any other of its name; its path."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._fd)
        with os.fdopen(self.made(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path / name

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
