"""What the image of a kernel says of itself."""

from pathlib import Path

from vfio_hw.errors import HarnessError

# Documentation/arch/x86/boot.rst: "HdrS" stands at 0x202, and at 0x20e the offset of the version
# string, which counts from 0x200 into the file.
_MAGIC = slice(0x202, 0x206)
_VERSION = slice(0x20E, 0x210)
_VERSION_BASE = 0x200
_LONGEST = 256


def release(path: Path) -> str:
    """The release (``uname -r``) of a bzImage.

    :raises HarnessError: it can not be read, or is no bzImage.
    """
    try:
        with path.open("rb") as file:
            head = file.read(0x10000)
    except OSError as error:
        raise HarnessError(f"the kernel image {path}: {error.strerror}") from error
    start = _VERSION_BASE + int.from_bytes(head[_VERSION], "little")
    words = head[start : start + _LONGEST].split(b"\0")[0].split()
    if head[_MAGIC] != b"HdrS" or start == _VERSION_BASE or not words:
        raise HarnessError(f"{path} is not a bzImage: give the file arch/x86/boot/bzImage")
    return words[0].decode(errors="replace")
