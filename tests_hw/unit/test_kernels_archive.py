"""This file checks which source package is taken from the archive, and by which keys."""

import shutil

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import archive, mirror
from vfio_hw.vm.kernels.archive import Package, choose

pytestmark = pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg orders the versions")

OFFERED = [
    Package("linux-source-6.1", "6.1.176-1"),
    Package("linux-source-6.12", "6.12.95-1~bpo12+1"),
    Package("linux-source-6.12", "6.12.107-1"),
    Package("linux-source-7.2", "7.2.13-1"),
    Package("linux-source-7.3", "7.3.4-1~bpo13+1"),
    Package("linux-source-7.3", "7.3.10-1~bpo13+1"),
]


def test_latest_is_the_newest_version_of_all():
    assert choose(OFFERED, None) == Package("linux-source-7.3", "7.3.10-1~bpo13+1")


def test_a_series_is_not_taken_for_one_that_begins_alike():
    assert choose(OFFERED, "6.1").version == "6.1.176-1"
    assert choose(OFFERED, "6.12").version == "6.12.107-1"


def test_a_backport_is_older_than_what_it_is_a_backport_of():
    both = [Package("linux-source-7.3", v) for v in ("7.3.4-1~bpo13+1", "7.3.4-1")]
    assert choose(both, None).version == "7.3.4-1"


def test_release_candidates_and_packages_without_a_series_are_left_out():
    others = [
        Package("linux-source-7.4", "7.4~rc3-1~exp1"),
        Package("linux-source-7.4-rc3", "7.4-1"),
        Package("linux-source", "7.9-1"),
    ]
    assert choose([*others, OFFERED[0]], None) == OFFERED[0]


def test_a_series_that_is_gone_is_refused_with_what_there_is():
    with pytest.raises(HarnessError, match=r"no linux-source-5\.10 .*linux-source-7\.3"):
        choose(OFFERED, "5.10")


@pytest.mark.parametrize(
    ("version", "kernel"),
    [("7.3.4-1~bpo13+1", "7.3.4"), ("6.1.176-1", "6.1.176"), ("1:6.12.1-2-3", "6.12.1-2")],
)
def test_the_kernels_own_version_is_without_epoch_and_revision(version, kernel):
    assert Package("linux-source-1.0", version).kernel_version == kernel


STANZAS = """\
# a comment first

Types: deb
URIs: mirror
Signed-By: /keys/one.gpg

# one more
Types: deb
signed-by:
 -----BEGIN-----
 .
 key
Suites: b

Types: deb
Suites: c
"""


def test_keys_are_those_of_the_stanza_that_apt_names():
    assert mirror.entry_keys(STANZAS, 1, True) == "/keys/one.gpg"
    assert mirror.entry_keys(STANZAS, 2, True) == "\n -----BEGIN-----\n .\n key"
    assert mirror.entry_keys(STANZAS, 3, True) == ""
    assert mirror.entry_keys(STANZAS, 4, True) == ""


def test_keys_of_a_one_line_entry_are_found_among_its_options():
    text = "# none\ndeb [arch=amd64 signed-by=/a.gpg,/b.gpg] uri suite main\ndeb uri suite main\n"
    assert mirror.entry_keys(text, 2, False) == "/a.gpg /b.gpg"
    assert mirror.entry_keys(text, 3, False) == ""
    assert mirror.entry_keys(text, 9, False) == ""


def test_the_mirror_is_debians_own_and_not_another_archive(monkeypatch):
    answer = (
        "URI: x\nRepo-URI: some://where/debian-security/\nLabel: Debian-Security\n\n"
        "URI: y\nRepo-URI: some://where/debian/\nLabel: Debian\nSourcesentry: none:1\n"
    )
    monkeypatch.setattr(mirror.tools, "run", lambda *_, **__: answer)
    monkeypatch.setattr(mirror, "_signed_by", lambda _: "keys")
    assert mirror.find() == mirror.Mirror("some://where/debian/", "keys")


@pytest.mark.parametrize(
    "answer", ["", "URI: x\nRepo-URI: some://where/ubuntu/\nLabel: Ubuntu\n", "Repo-URI: a://b/c\n"]
)
def test_a_machine_without_a_debian_mirror_is_told_so(monkeypatch, answer):
    monkeypatch.setattr(mirror.tools, "run", lambda *_, **__: answer)
    with pytest.raises(HarnessError, match=r"no Debian mirror.*apt-get update"):
        mirror.find()


def test_a_full_disk_is_noticed_before_apt_tries_to_write_to_it(monkeypatch, tmp_path):
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path))
    monkeypatch.setattr(archive, "_LISTS_MEGABYTES", 10**13)
    monkeypatch.setattr(archive.Apt, "update", None)
    with pytest.raises(HarnessError, match=f"fetching package lists needs .* MB in {tmp_path}"):
        archive.Archive(lambda _: None).packages()


def test_no_suite_at_all_means_no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path))
    monkeypatch.setattr(archive.tools, "require", lambda *_: None)
    monkeypatch.setattr(archive.mirror, "find", lambda: mirror.Mirror("x", "y"))
    monkeypatch.setattr(archive.Apt, "update", lambda *_: "W: Could not resolve 'somewhere'")
    with pytest.raises(HarnessError, match=r"Could not resolve.*reaches its Debian mirror"):
        archive.Archive(lambda _: None).packages()
