"""This file checks that results go where nobody else can lead them, and that usual places do."""

import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from vfio_hw import session, trust
from vfio_hw.errors import HarnessError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
OTHER = 4242


@pytest.fixture(autouse=True)
def nobody_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUDO_UID", "SUDO_GID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Callable[..., Path]:
    """Makes a directory that is somebody's."""

    def made(mode: int = 0o755, user: int = -1, group: int = -1) -> Path:
        path = tmp_path / "home"
        path.mkdir()
        os.chown(path, user, group)
        path.chmod(mode)
        return path

    return made


@as_root
@pytest.mark.parametrize("below", ["x", "made/by/nobody/yet"])
def test_results_are_not_kept_where_another_user_could_put_a_link(
    home: Callable[..., Path], below: str
) -> None:
    there = home(user=OTHER)
    with pytest.raises(HarnessError, match=r"home belongs to user 4242, so .*; name .* --results"):
        session.results_directory(there / below)
    assert not any(there.iterdir())


@as_root
def test_nor_below_it_in_a_directory_of_our_own(home: Callable[..., Path]) -> None:
    (ours := home(user=OTHER) / "ours").mkdir()
    with pytest.raises(HarnessError, match="home belongs to user 4242"):
        session.results_directory(ours / "x")


def acl(user: int = 7, group: int = 5) -> bytes:
    """Who has the file may write, and this user or its group if they may. Source: acl(5)."""
    entries = ((1, 7, -1), (2, user, OTHER), (4, group, -1), (16, 7, -1), (32, 5, -1))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *each) for each in entries)


@pytest.fixture
def shared_by_acl(home: Callable[..., Path]) -> Path:
    """A directory whose group is ours alone, and in which another user may write."""
    there = home()
    os.setxattr(there, "system.posix_acl_access", acl())
    assert there.stat().st_mode & 0o022 == 0o020
    return there


def test_nor_where_an_access_control_list_lets_another_user_write(shared_by_acl: Path) -> None:
    with pytest.raises(HarnessError, match=r"home can be written to by others \(drwxrwxr-x\+\)"):
        session.results_directory(shared_by_acl / "x")
    file = shared_by_acl / "record"
    file.touch()
    with pytest.raises(HarnessError, match=r"home is not this user's alone.*drwxrwxr-x\+"):
        trust.must_be_ours(file, "it", "go")


@as_root
@pytest.mark.parametrize(
    ("group", "user_may", "group_may", "trusted"),
    [(OTHER, 7, 7, True), (OTHER + 1, 7, 7, False), (OTHER + 1, 5, 5, True), (0, 5, 7, True)],
)
def test_an_access_control_list_is_judged_by_who_may_write(
    home: Callable[..., Path], tmp_path: Path, monkeypatch, group, user_may, group_may, trusted
) -> None:
    """Whom the code's lets write, too; the mode shows those bits whoever it is that may."""
    (code := tmp_path / "code").mkdir()
    os.chown(code, -1, OTHER)
    os.setxattr(code, "system.posix_acl_access", acl(7, 7))
    monkeypatch.setattr(trust, "_CODE", code)
    there = home(group=group)
    os.setxattr(there, "system.posix_acl_access", acl(user_may, group_may))
    assert there.stat().st_mode & 0o022 == 0o020
    assert (trust.led_by_others(there / "x") is None) == trusted


@pytest.mark.parametrize("mode", [0o777, 0o757])
def test_nor_where_everybody_may_write(home: Callable[..., Path], mode: int) -> None:
    there = home(mode)
    with pytest.raises(HarnessError, match=f"others .*{stat.filemode(mode)[1:]}"):
        session.results_directory(there / "x")
    assert not any(there.iterdir())


@as_root
def test_nor_where_a_group_may_write_that_is_not_ours(home: Callable[..., Path]) -> None:
    with pytest.raises(HarnessError, match="home can be written to by others"):
        session.results_directory(home(0o775, group=OTHER) / "x")


@as_root
def test_a_link_of_another_user_is_not_followed(home: Callable[..., Path]) -> None:
    (ours := home(0o1777) / "ours").mkdir()
    link = ours.parent / "link"
    link.symlink_to(ours)
    assert session.results_directory(link / "x").is_dir()
    os.chown(link, OTHER, -1, follow_symlinks=False)
    with pytest.raises(HarnessError, match="link belongs to user 4242"):
        session.results_directory(link / "y")


@as_root
def test_nor_is_one_of_ours_to_where_another_user_could_put_one(
    home: Callable[..., Path], tmp_path: Path
) -> None:
    (home(user=OTHER) / "theirs").mkdir()
    (tmp_path / "link").symlink_to("home/theirs")
    with pytest.raises(HarnessError, match="home belongs to user 4242"):
        session.results_directory(tmp_path / "link" / "x")


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / one).symlink_to(other)
    assert trust.led_by_others(tmp_path / "a" / "x") is None


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o000, 0o077])
def test_usual_places_are_trusted_whatever_the_umask_is(
    home: Callable[..., Path], umask: int
) -> None:
    """A home whose group is its user's alone, and below a directory like /tmp."""
    before = os.umask(umask)
    try:
        private = home(0o775)
        for place in (private, private / "not" / "yet" / "there"):
            assert session.results_directory(place / "x").stat().st_mode & 0o022 == 0
            assert session.results_directory(place / "y").is_dir()
        private.chmod(0o1777)
        assert session.results_directory(private / "z").is_dir()
    finally:
        os.umask(before)


@as_root
@pytest.mark.parametrize(
    ("name", "members", "trusted"),
    [("alice", [], True), ("alice", ["alice"], True), ("alice", ["bob"], False), ("x", [], False)],
)
def test_a_private_group_has_one_member(
    home: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name, members, trusted
) -> None:
    there = home(0o775, group=OTHER)
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    monkeypatch.setattr(os, "getegid", lambda: OTHER)
    monkeypatch.setattr(trust.pwd, "getpwuid", lambda user: SimpleNamespace(pw_name="alice"))
    group = SimpleNamespace(gr_name=name, gr_mem=members)
    monkeypatch.setattr(trust.grp, "getgrgid", lambda number: group)
    assert (trust.led_by_others(there / "x") is None) == trusted


def test_where_all_is_everybodys_the_code_is_too(
    home: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on file systems that are shared with a host and know no modes."""
    there = home(0o777)
    (code := there / "code").mkdir()
    monkeypatch.setattr(trust, "_CODE", code)
    (results := there / "results").mkdir()
    results.chmod(0o777)
    with pytest.raises(HarnessError, match="results can be written to by others"):
        session.results_directory(results / "x")
    code.chmod(0o777)
    assert session.results_directory(results / "x").is_dir()


@pytest.mark.parametrize("kind", ["file", "dangling"])
def test_what_is_no_directory_on_the_way_is_named(tmp_path: Path, kind: str) -> None:
    way = tmp_path / kind
    way.write_text("") if kind == "file" else way.symlink_to(tmp_path / "nothing")
    with pytest.raises(HarnessError, match=f"{kind} is no directory; name another place"):
        session.results_directory(way / "x")


@as_root
def test_who_called_sudo_is_trusted(
    home: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """He could do as much without it; and is nobody, when sudo has not made us root."""
    there = home(0o2775, user=OTHER, group=OTHER) / "x"
    monkeypatch.setenv("SUDO_UID", str(OTHER))
    monkeypatch.setenv("SUDO_GID", "none")
    with pytest.raises(HarnessError, match="belongs to user 4242"):
        session.results_directory(there)
    monkeypatch.setenv("SUDO_GID", str(OTHER))
    monkeypatch.setattr(os, "geteuid", lambda: OTHER + 1)
    assert trust.led_by_others(there) is not None
    monkeypatch.undo()
    monkeypatch.setenv("SUDO_UID", str(OTHER))
    monkeypatch.setenv("SUDO_GID", str(OTHER))
    assert session.results_directory(there).is_dir()


def test_so_is_what_the_code_itself_is_below(
    home: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may write to a runner's directory of builds may change the code there."""
    there = home(0o777)
    monkeypatch.setattr(trust, "_CODE", there / "checkout" / "vfio_hw")
    (there / "checkout" / "vfio_hw").mkdir(parents=True)
    assert session.results_directory(there / "checkout" / "results" / "x").is_dir()
    with pytest.raises(HarnessError, match="can be written to by others"):
        open_to_all = there / "checkout" / "open"
        open_to_all.mkdir()
        open_to_all.chmod(0o777)
        session.results_directory(open_to_all / "x")


@as_root
def test_so_is_whose_the_code_is_that_runs(
    home: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root runs it in a developer's clone: who may change the code needs no link."""
    clone = home(0o775, user=OTHER, group=OTHER)
    code = clone / "vfio_hw"
    code.mkdir(mode=0o755)
    os.chown(code, OTHER, OTHER)
    monkeypatch.setattr(trust, "_CODE", code)
    results = clone / "results"
    results.mkdir()
    results.chmod(0o775)
    os.chown(results, OTHER, OTHER)
    with pytest.raises(HarnessError, match="results can be written to by others"):
        session.results_directory(results / "x")
    code.chmod(0o775)
    assert session.results_directory(results / "x").is_dir()
