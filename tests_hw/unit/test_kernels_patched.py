"""This file checks patches read from files, and a source and its objects that they go on top of."""

import base64

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import patched, series, tree
from vfio_hw.vm.kernels.store import Kernel

DIFF = """\
--- a/{name}
+++ b/{name}
@@ -1 +1 @@
-{old}
+{new}
"""
MAIL = """\
From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001
From: A <a@b>
Subject: {subject}
{headers}
{body}
"""
# Stands for Kbuild's; what it has compiled is what the source says.
MAKEFILE = "olddefconfig:\n\ttrue\n\nall: made\n\nmade: text\n\tcp text made\n\techo >> times\n"


def diff(old, new, name="text"):
    return DIFF.format(name=name, old=old, new=new)


def mail(subject, body, headers=""):
    return MAIL.format(subject=subject, body=body, headers=headers)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_mails_of_a_series_are_taken_in_the_order_of_their_numbers(here):
    box = here / "series.mbox"
    mails = [
        mail("[PATCH v2 0/2] a series", "a cover letter"),
        mail("[PATCH v2 2/2] second", diff("b", "c")),
        mail("[PATCH v2 1/2] first", diff("a", "b")),
    ]
    box.write_text("\n".join(mails))
    found = series.read(box)
    assert [patch.title for patch in found] == ["[PATCH v2 1/2] first", "[PATCH v2 2/2] second"]
    (here / "text").write_text("a\n")
    series.apply(found, here)
    assert (here / "text").read_text() == "c\n"


@pytest.mark.parametrize(
    ("second", "title"),
    [
        # As git format-patch writes "Gerät": the whole subject, or from its first such word on.
        ("=?UTF-8?q?=5BPATCH=20v2=202/2=5D=20Ger=C3=A4t?=", "[PATCH v2 2/2] Gerät"),
        ("=?utf-8?b?W1BBVENIIHYyIDIvMl0gR2Vyw6R0?=", "[PATCH v2 2/2] Gerät"),
        ("[PATCH v2 2/2] =?none?q?Ger=E4t?=", "[PATCH v2 2/2] =?none?q?Ger=E4t?="),
    ],
)
def test_a_subject_that_is_encoded_has_its_number_too(here, second, title):
    box = here / "series.mbox"
    mails = [mail(second, diff("b", "c")), mail("[PATCH v2 1/2] first", diff("a", "b"))]
    box.write_text("\n".join(mails))
    assert [patch.title for patch in series.read(box)] == ["[PATCH v2 1/2] first", title]


def test_a_mail_that_was_encoded_on_its_way_is_decoded(here):
    body = base64.b64encode(diff("ä", "ö").encode()).decode()
    headers = (
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
        "Content-Transfer-Encoding: base64\n"
    )
    (here / "mail").write_text(mail("[PATCH] it", body, headers))
    (here / "text").write_text("ä\n")
    series.apply(series.read(here / "mail"), here)
    assert (here / "text").read_text() == "ö\n"


@pytest.mark.parametrize("text", ["", "no diff\n", mail("[PATCH] it", "only words")])
def test_a_file_without_a_patch_is_told(here, text):
    (here / "empty").write_text(text)
    with pytest.raises(HarnessError, match=r"empty holds no patch"):
        series.read(here / "empty")


def test_a_file_that_is_not_there_is_told(here):
    with pytest.raises(HarnessError, match=r"the patch .*none: No such file"):
        series.read(here / "none")


@pytest.fixture
def kernel(here, monkeypatch):
    """A kernel that was built in its source; what tree.resolve makes of the patched one."""
    source = here / "linux"
    source.mkdir()
    (source / "Makefile").write_text(MAKEFILE)
    (source / "text").write_text("a\n")
    monkeypatch.setattr(tree, "state", lambda path: "state")
    monkeypatch.setattr(tree, "resolve", lambda given, modules, say: given)
    monkeypatch.setattr(patched.tree, "resolve", lambda given, modules, say: given)
    return Kernel("mine", "7", source / "image", source, None, None, source, source)


def test_a_patched_kernel_is_built_once_and_leaves_the_other_alone(here, kernel):
    patch = here / "it.diff"
    patch.write_text(diff("a", "b"))
    said = []
    made = {str(patched.get(kernel, [patch], said.append)) for _ in range(2)}
    (place,) = map(here.joinpath, made)
    assert (place / "made").read_text() == "b\n"
    assert (place / "times").read_text() == "\n"
    assert sorted(path.name for path in kernel.directory.iterdir()) == ["Makefile", "text"]
    assert (kernel.directory / "text").read_text() == "a\n"
    assert "applied: it.diff" in said


def test_a_source_that_was_changed_since_is_patched_anew(here, kernel):
    """Whether or not its own kernel was built again."""
    patch = here / "it.diff"
    patch.write_text(diff("a", "b"))
    other = kernel.directory / "other"
    other.write_text("old")
    first = patched.get(kernel, [patch], print)
    other.write_text("newer")
    second = patched.get(kernel, [patch], print)
    assert second != first
    assert (here / second / "other").read_text() == "newer"


def test_a_patch_that_does_not_apply_is_told_and_leaves_nothing(here, kernel):
    patch = here / "it.diff"
    patch.write_text(diff("other", "b"))
    with pytest.raises(HarnessError, match=r"'it.diff' does not apply to source: Hunk #1 FAILED"):
        patched.get(kernel, [patch], print)
    assert list((here / "cache" / "patched").iterdir()) == []


def test_a_patch_that_does_not_compile_is_told(here, kernel):
    patch = here / "it.diff"
    patch.write_text(diff("olddefconfig:", "nothing:", name="Makefile").replace("-1 +1", "-1,1 +1"))
    with pytest.raises(HarnessError, match="configuring mine, patched: "):
        patched.get(kernel, [patch], print)


def test_a_kernel_without_its_objects_can_not_be_patched(here, kernel):
    bare = Kernel("bare", "7", kernel.image, kernel.modules, None, None, kernel.directory)
    with pytest.raises(HarnessError, match="bare can not be patched"):
        patched.get(bare, [], print)
