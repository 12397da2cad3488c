"""A pytest plugin of the host's: what is collected becomes the plan for a guest.

Loaded by hand: ``-p vfio_hw.planning --plan=FILE --collect-only``.
"""

import sys
from pathlib import Path

import pytest

from vfio_hw import order
from vfio_hw.plan import Plan


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("vfio-hw").addoption("--plan", metavar="FILE", help="where the plan goes")


def pytest_sessionfinish(session: pytest.Session) -> None:
    # What can not be collected here the guest tries to, and tells why.
    items = [] if session.testsfailed else session.items
    plan = Plan(
        tuple(item.nodeid for item in items), order.promises_of(items), tuple(sorted(_files()))
    )
    plan.write(Path(session.config.option.plan))


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
