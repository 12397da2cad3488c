"""How the running kernel was configured."""

import functools
import gzip
from pathlib import Path

CONFIG = Path("/proc/config.gz")


@functools.cache
def options(path: Path = CONFIG) -> frozenset[str] | None:
    """The options that are built in or modules; None when the kernel does not say.

    Source: CONFIG_IKCONFIG_PROC.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode()
    except OSError:
        return None
    lines = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return frozenset(name for name, _, value in lines if value in ("y", "m"))
