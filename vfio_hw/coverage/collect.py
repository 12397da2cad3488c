"""Takes the counters of a profiled kernel out of the guest it runs in.

They leave as an event, because the event port is there whatever becomes of devices and file
systems; all of them are some ten thousand bytes, compressed.

As a program (``python -m vfio_hw.coverage.collect COMMAND``) this runs a command, sends the
counters when it has ended, and passes its status on.
"""

import base64
import io
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from vfio_hw.report.events import PORT, Event, send

COUNTERS = Path("/sys/kernel/debug/gcov")
# A kernel may count all over; what is not of VFIO would be megabytes.
_WANTED = (
    "*/drivers/vfio/*",
    "*/samples/vfio-mdev/*",
    "*/virt/kvm/vfio.gcda",
    "*/drivers/iommu/iommufd/device.gcda",
    "*/drivers/iommu/iommufd/vfio_compat.gcda",
)
KIND = "coverage"
"""The event that carries them; the newest of a guest holds all that the earlier ones did."""


def counters(root: Path = COUNTERS) -> dict[str, bytes]:
    """The content of every counter file, by the path that gcov(1) would look for it at.

    A module's counters stay when it is unloaded, and are added to those of its next life
    (Documentation/dev-tools/gcov.rst).
    """
    found = {f"/{path.relative_to(root)}": path for path in sorted(root.rglob("*.gcda"))}
    return {name: path.read_bytes() for name, path in found.items() if wanted(name)}


def wanted(name: str) -> bool:
    """Whether the counters of that path are of VFIO."""
    return any(fnmatch(name, pattern) for pattern in _WANTED)


def packed(files: Mapping[str, bytes]) -> bytes:
    """The files in an archive (zip)."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            # Dated as nothing: the same counters make the same archive.
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)
    return memory.getvalue()


def event() -> Event:
    """What this kernel has counted since it booted, to be sent."""
    return {"event": KIND, "archive": base64.b64encode(packed(counters())).decode()}


def archive_of(event: Event) -> bytes:
    """The archive that such an event carries."""
    return base64.b64decode(str(event["archive"]))


def main(command: list[str]) -> int:
    """Run the command and send what it reached; its status, as a shell would tell it."""
    try:
        status = subprocess.run(command, check=False).returncode
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126
    finally:
        send(PORT, event())
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
