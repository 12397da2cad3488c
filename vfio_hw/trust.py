"""What may be believed, and written to: who else can have had a hand in it, or can yet."""

import grp
import os
import pwd
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from vfio_hw.errors import HarnessError

_CODE = Path(__file__).parent
_MOST_LINKS = 40  # path_resolution(7)
# Source: acl(5), linux/posix_acl_xattr.h; an entry is its tag, what it permits, and to whom.
_HEADER, _ENTRY, _MAY_WRITE = 4, struct.Struct("<HHI"), 2
_USER, _OWNING_GROUP, _GROUP = 0x02, 0x04, 0x08


def must_be_ours(path: Path, what: str, instead: str) -> None:
    """See that nobody else can have written a file, which is then believed.

    :param what: of the file is believed.
    :param instead: what can be done when it is not.
    :raises HarnessError: it is somebody else's, a link, or in a directory where others can put one.
    :raises OSError: it is not there.
    """
    # The way to the directory is looked at below, with the links there.
    for each, status in ((path.parent, path.parent.stat()), (path, path.lstat())):
        ours, whose = status.st_uid in (0, os.geteuid()), f"user {status.st_uid}"
        if not ours or _open_to_others(each, status):
            mode = _mode(each, status)
            remedy = instead if ours else f"go on as {whose}, or {instead}"
            raise HarnessError(
                f"{each} is not this user's alone, so {what} may be somebody else's"
                f" ({mode}, {whose}'s): {remedy}"
            )
    if reason := led_by_others(path.parent):
        raise HarnessError(f"{reason}, so {what} may be somebody else's: {instead}")


def led_by_others(path: Path) -> str | None:
    """Why others could make a path lead elsewhere, as far as it exists by now; None: nobody can.

    Who owns a directory on the way can, and who may write to it, unless it is sticky. Those who
    can do as much without it are not meant: root, this user, whose the code is that runs here, who
    could put other code there, and who has called sudo.
    """
    owners = {0, _CODE.stat().st_uid, *(user for user, _ in _users())}
    to_code = {each for each, _ in _way(_CODE)}
    for each, status in _way(path.absolute()):
        if each in to_code:
            continue
        if status.st_uid not in owners:
            return f"{each} belongs to user {status.st_uid}"
        # Of a link the mode says nothing.
        kept = stat.S_ISLNK(status.st_mode) or status.st_mode & stat.S_ISVTX
        if _open_to_others(each, status) and not kept:
            return f"{each} can be written to by others ({_mode(each, status)})"
    return None


def _way(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The directories and links by which the kernel comes to a path, as far as there are any."""
    at, left, links = Path("/"), [*reversed(path.parts)], 0
    while left:
        name = left.pop()
        step = at.parent if name == ".." else at / name
        try:
            status = step.lstat()
            if stat.S_ISLNK(status.st_mode):
                left += reversed(step.readlink().parts)
                links += 1
            else:
                at = step
        except OSError:
            return  # who uses the path is told
        yield step, status
        if links > _MOST_LINKS:
            return


def _open_to_others(path: Path, status: os.stat_result) -> bool:
    code = _CODE.stat()
    if code.st_mode & 0o002:
        return False  # so is the code, as all is on some shared file systems
    if status.st_mode & 0o002:
        return True
    users = {0, code.st_uid, *(user for user, _ in _users())}
    ours = {*((_USER, user) for user in users), *((_GROUP, group) for group in _groups())}
    return not _writers(path, status) <= ours | _writers(_CODE, code)


def _writers(path: Path, status: os.stat_result) -> set[tuple[int, int]]:
    """Which users and groups may write to it, beside its owner and everybody: tag and number."""
    # Those bits say the most that any of an access control list may do.
    if not status.st_mode & 0o020:
        return set()
    acl = _acl(path)
    if acl is None:
        return {(_GROUP, status.st_gid)}
    entries = [each for each in _ENTRY.iter_unpack(acl[_HEADER:]) if each[1] & _MAY_WRITE]
    named = {(tag, number) for tag, _, number in entries if tag in (_USER, _GROUP)}
    owning = {(_GROUP, status.st_gid) for tag, _, _ in entries if tag == _OWNING_GROUP}
    return named | owning


def _acl(path: Path) -> bytes | None:
    """Its access control list; None: it has none."""
    try:
        return os.getxattr(path, "system.posix_acl_access")
    except OSError:
        return None


def _mode(path: Path, status: os.stat_result) -> str:
    """As ls(1) tells it."""
    return stat.filemode(status.st_mode) + ("" if _acl(path) is None else "+")


def _groups() -> set[int]:
    """Those in which is nobody who could not do as much without them."""
    return {0, *(group for user, group in _users() if _private(user, group))}


def _private(user: int, group: int) -> bool:
    """Whether a user's group is his alone, as useradd makes it; his umask is often 002 then."""
    try:
        found = grp.getgrgid(group)
    except KeyError:
        return user == group
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        return False
    return found.gr_name == name and not {*found.gr_mem} - {name}


def _users() -> list[tuple[int, int]]:
    """This one and its group, and who has called sudo when we are root by it."""
    own = [(os.geteuid(), os.getegid())]
    try:
        caller = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    except (KeyError, ValueError):
        return own
    return own if os.geteuid() else [*own, caller]
