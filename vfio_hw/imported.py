"""A pytest plugin that notes which files Python has read, for guests to be given them at once.

Loaded by hand: ``-p vfio_hw.imported --imported=FILE``.
"""

import sys
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("vfio-hw").addoption(
        "--imported", metavar="FILE", help="file for the names of all files that were imported"
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    Path(session.config.option.imported).write_text("\n".join(sorted(_files())))


def _files() -> set[str]:
    """The source and the bytecode of every module, as far as they are there."""
    found = set()
    for module in list(sys.modules.values()):
        source, bytecode = (getattr(module, name, None) for name in ("__file__", "__cached__"))
        found |= {name for name in (source, bytecode) if name}
        if source:
            # Modules whose assertions are rewritten have bytecode that pytest keeps for itself.
            cache = Path(source).parent / "__pycache__"
            tag = f"{Path(source).stem}.{sys.implementation.cache_tag}-pytest-"
            found.add(str(cache / f"{tag}{pytest.__version__}.pyc"))
    return {name for name in found if Path(name).is_file()}
