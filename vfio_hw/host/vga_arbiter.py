"""The kernel's arbiter of who has the legacy addresses of VGA, /dev/vga_arbiter.

Source: Documentation/gpu/vgaarbiter.rst.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

NODE = Path("/dev/vga_arbiter")
_MOST = 1024


def decoded(address: str) -> str:
    """Which legacy addresses the arbiter takes a function to decode: ``io+mem``, ``none``."""
    with _about(address) as descriptor:
        told = os.read(descriptor, _MOST).decode()
    fields = dict(part.split("=") for part in told.split(",") if "=" in part)
    return fields["decodes"]


@contextlib.contextmanager
def locked(address: str) -> Iterator[None]:
    """The function has the legacy ports and memory inside, and nobody else."""
    with _about(address) as descriptor:
        os.write(descriptor, b"lock io+mem")
        try:
            yield
        finally:
            os.write(descriptor, b"unlock all")


@contextlib.contextmanager
def _about(address: str) -> Iterator[int]:
    descriptor = os.open(NODE, os.O_RDWR)
    try:
        os.write(descriptor, f"target PCI:{address}".encode())
        yield descriptor
    finally:
        os.close(descriptor)
