"""What a disk that nobody uses now says it belongs to: LVM, md and ZFS mark their members."""

import os
import struct
from dataclasses import dataclass

_SECTOR = 512
_MD_MAGIC = struct.pack("<I", 0xA92B4EFC)
_MD_MAGIC_BIG = struct.pack(">I", 0xA92B4EFC)
_ZFS_MAGIC = struct.pack("<Q", 0x00BAB10C)
_ZFS_MAGIC_BIG = struct.pack(">Q", 0x00BAB10C)
# A label of a vdev is 256 KiB, the ring of uberblocks its second half, each at least 1 KiB.
_ZFS_LABEL, _ZFS_RING = 256 << 10, 128 << 10


@dataclass(frozen=True)
class Signature:
    """Whose member the disk is: the rule that speaks of it, and a noun."""

    rule: str
    text: str


def signature(disk: int) -> Signature | None:
    """The mark on an open disk, None when there is none of these.

    Sources: the LVM2 label (man lvmdump, "LABELONE"), Documentation/admin-guide/md.rst and
    linux/raid/md_p.h for the superblocks, the ZFS on-disk specification, 1.2 and 1.3.
    """
    size = os.lseek(disk, 0, os.SEEK_END)
    head = os.pread(disk, 4 * _SECTOR, 0)
    for sector in range(4):
        label = head[sector * _SECTOR : (sector + 1) * _SECTOR]
        if label.startswith(b"LABELONE"):
            return Signature("lvm", "a physical volume of LVM")
    if any(_at(disk, size, offset, 4) in (_MD_MAGIC, _MD_MAGIC_BIG) for offset in _md_places(size)):
        return Signature("md", "a member of an md array that is not running")
    for label_at in (0, _ZFS_LABEL, *_zfs_labels_at_the_end(size)):
        ring = _at(disk, size, label_at + _ZFS_RING, _ZFS_LABEL - _ZFS_RING)
        if any(
            ring[slot : slot + 8] in (_ZFS_MAGIC, _ZFS_MAGIC_BIG)
            for slot in range(0, len(ring), 1024)
        ):
            return Signature("zfs", "a member of a ZFS pool")
    return None


def _md_places(size: int) -> list[int]:
    """Where a superblock is: at the end (0.90, 1.0), at the start (1.1), or 4 KiB from it (1.2)."""
    reserved = 64 << 10
    return [4096, 0, (size & ~(reserved - 1)) - reserved, (size - 8192) & ~4095]


def _zfs_labels_at_the_end(size: int) -> list[int]:
    end = size & ~(_ZFS_LABEL - 1)
    return [end - 2 * _ZFS_LABEL, end - _ZFS_LABEL]


def _at(disk: int, size: int, offset: int, length: int) -> bytes:
    if offset < 0 or offset + length > size:
        return b""
    return os.pread(disk, length, offset)
