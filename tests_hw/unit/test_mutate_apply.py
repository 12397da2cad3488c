"""This file checks that a semantic patch changes what it says it changes, or says why not."""

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.mutate import apply, mutant
from vfio_hw.vm.kernels import tools

SOURCE = """\
int get(int *users)
{
	if (*users < 0)
		return -1;
	put(users);
	return 0;
}

int other(int *users)
{
	put(users);
	return 0;
}
"""

HEADER = """\
// id: X-1
// title: a reference that is kept
// class: reference leak
// promise: P1
// origin: plausible
// device: none
// oracle: leaks
// kind: deterministic
// file: a/b.c
"""


@pytest.fixture
def patched(tmp_path):
    """Applies a patch to the source above."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.c").write_text(SOURCE)

    def do(patch: str, header: str = "") -> str:
        path = tmp_path / "X-1.cocci"
        path.write_text(f"{HEADER}{header}\n{patch}")
        return apply.applied(mutant.read(path), tmp_path)

    return do


def test_the_place_that_matches_is_changed_and_nothing_else(patched):
    changed = patched("@@ expression u; @@\nget(...) { ...\n- put(u);\n... }\n")
    assert changed == SOURCE.replace("\tput(users);\n", "", 1)


def test_the_author_of_a_patch_sees_where_it_matched(tmp_path, patched):
    patched("@@ expression u; @@\nget(...) { ...\n- put(u);\n... }\n")
    shown = apply.difference(mutant.read(tmp_path / "X-1.cocci"), tmp_path).splitlines()
    assert shown[:3] == ["--- a/a/b.c", "+++ b/a/b.c", "@@ -2,7 +2,6 @@"]
    assert [line for line in shown[3:] if line[0] in "+-"] == ["-\tput(users);"]


def test_a_patch_may_change_as_many_places_as_it_says(patched):
    changed = patched("@@ expression u; @@\n- put(u);\n", "// changes: 2\n")
    assert "put" not in changed


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ("@@ expression u; @@\n- put(u);\n", "changes 2 places of a/b.c (lines 5, 11), 1 expected"),
        ("@@ expression u; @@\n- release(u);\n", "matches nothing in a/b.c"),
        ("@@ expression u; @@\n- put(u;\n", "spatch failed"),
    ],
)
def test_a_patch_that_does_not_fit_is_told_in_a_sentence(patched, patch, words):
    with pytest.raises(HarnessError) as error:
        patched(patch)
    assert words in str(error.value)
    assert "X-1" in str(error.value)


@pytest.mark.parametrize(
    "patch",
    [
        "@@ expression u; @@\n- put(u);\n",
        "@@ expression u; @@\n- put(u);\n+ get(u);\n",
        "@@ expression u; @@\n- put(u)\n+ get(u)\n",
    ],
)
def test_a_patch_that_matches_two_neighbours_changes_more_than_one_place(tmp_path, patched, patch):
    """They are one stretch of lines."""
    narrow = "@@ @@\nget(...) { ...\n- put(users);\n... }\n"
    assert "other" in patched(narrow)
    twice = SOURCE.replace(
        "\tput(users);\n\treturn 0;\n}\n\nint other", "\treturn 0;\n}\n\nint other"
    )
    twice = twice.replace("\tput(users);\n", "\tput(users);\n\tput(users + 1);\n")
    (tmp_path / "a" / "b.c").write_text(twice)
    with pytest.raises(HarnessError) as error:
        patched(patch)
    assert "removes 2 statements of a/b.c (lines 10), 1 at most expected" in str(error.value)
    assert "make the pattern narrower" in str(error.value)


def test_what_a_patch_leaves_open_may_be_as_much_as_there_is(tmp_path, patched):
    patched("@@ @@\nget(...) { ...\n- put(users);\n... }\n")
    block = "\tif (*users) {\n\t\tput(users);\n\t\tput(users);\n\t}\n\treturn 0;\n"
    (tmp_path / "a" / "b.c").write_text(f"int get(int *users)\n{{\n{block}}}\n")
    path = tmp_path / "X-1.cocci"
    path.write_text(f"{HEADER}\n@@ expression e; @@\n- if (e) {{\n- ...\n- }}\n")
    assert "put" not in apply.applied(mutant.read(path), tmp_path)


def test_a_machine_without_coccinelle_is_told_what_to_install(patched, monkeypatch):
    monkeypatch.setattr(tools, "environment", lambda: {"PATH": "/nowhere"})
    with pytest.raises(HarnessError, match="spatch, not installed here: apt-get install"):
        patched("@@ @@\n- put(users);\n")
