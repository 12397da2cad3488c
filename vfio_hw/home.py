"""Where a user's own files are."""

import os
from pathlib import Path

from vfio_hw.errors import HarnessError


def home(instead: str) -> Path:
    """The home directory of this user.

    :param instead: the environment variable that names another place for what is kept there.
    :raises HarnessError: there is none, as of a user of a container whom /etc/passwd does not know.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise HarnessError(
            f"user {os.geteuid()} has no home directory: set HOME, or name a directory in {instead}"
        ) from None
