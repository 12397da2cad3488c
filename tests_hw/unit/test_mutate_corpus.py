"""This file checks that a mutant's header is read, and a bad one told in a sentence."""

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.mutate import corpus, mutant
from vfio_hw.mutate.record import BAD, DETECTED, EQUIVALENT, SURVIVED, UNCLEAR, UNFIT

HEADER = {
    "id": "DEV-01",
    "title": "a release that keeps the registration",
    "class": "reference leak",
    "promise": "P1",
    "origin": "plausible",
    "device": "mtty, edu",
    "oracle": "hang",
    "kind": "deterministic",
    "file": "drivers/vfio/vfio_main.c",
}


@pytest.fixture
def written(tmp_path):
    """Writes a mutant, some keys of its header changed or, with None, left out."""

    def write(name="DEV-01", /, **changed):
        fields = {**HEADER, "id": name, **{key.rstrip("_"): v for key, v in changed.items()}}
        lines = [f"// {key}: {value}" for key, value in fields.items() if value is not None]
        path = tmp_path / f"{changed.get('file_name', name)}.cocci"
        lines = [line for line in lines if not line.startswith("// file_name")]
        path.write_text("\n".join([*lines, "", "@@ @@", "-a();", ""]))
        return path

    return write


def test_a_header_is_read_for_what_it_says(written):
    read = mutant.read(written(kind="race", changes="2", needs="CONFIG_KASAN", machine="sr-iov"))
    assert (read.id, read.promise, read.race, read.changes) == ("DEV-01", "P1", True, 2)
    assert read.devices == ("mtty", "edu")
    assert read.needs == "CONFIG_KASAN"
    assert read.machine == "sr-iov"
    assert not read.equivalent


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"promise": None}, "lacks promise"),
        ({"promise": "P10"}, "promise is 'P10'"),
        ({"class": "bad luck"}, "class is 'bad luck'"),
        ({"kind": "rarely"}, "kind is 'rarely'"),
        ({"device": "mtty, gpu"}, "device is 'gpu'"),
        ({"oracle": "luck"}, "oracle is 'luck'"),
        ({"changes": "0"}, "changes is '0'"),
        ({"changes": "\u00b2"}, "give the number of changed places"),
        ({"changes": "\u0663"}, "give the number of changed places"),
        ({"changes": "9" * 5000}, "give the number of changed places"),
        ({"class": "x" * 2000}, "x ...': give one of"),
        ({"promise": "P1\x1b[2J"}, "promise is 'P1\\x1b[2J'"),
        ({"file": "drivers/vfio/\x00.c"}, "give a .c file"),
        ({"file": "drivers/vfio/vfio.h"}, "give a .c file"),
        ({"file": "../other/vfio_main.c"}, "give a .c file"),
        ({"machine": "toaster"}, "machine is 'toaster'"),
        ({"needs": "KASAN"}, "needs is 'KASAN'"),
        ({"needs": "CONFIG_KASAN, CONFIG_KVM"}, "give one option"),
        ({"colour": "red"}, "is no line of a header"),
    ],
)
def test_a_bad_header_is_told_with_its_file(written, changed, words):
    path = written(**changed)
    with pytest.raises(HarnessError) as error:
        mutant.read(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


def test_a_bad_file_does_not_keep_the_others_from_being_read(written, tmp_path):
    written("A-1")
    written("B-1", promise="P0")
    (tmp_path / "C-1.cocci").write_bytes(b"\xff\xfe")
    found, problems = corpus.read(tmp_path)
    assert [each.id for each in found] == ["A-1"]
    assert len(problems) == 2


def test_an_id_that_differs_from_the_name_of_the_file_is_an_error_of_that_file(written, tmp_path):
    written("A-1")
    written("B-1", file_name="one")
    written("A-1", file_name="two")
    found, problems = corpus.read(tmp_path)
    assert [each.id for each in found] == ["A-1"]
    assert sorted(problems) == ["one", "two"]
    assert "one.cocci: id is 'B-1' and the file another: make them equal" in problems["one"]


def test_an_empty_corpus_and_an_unknown_id_are_told(written, tmp_path):
    with pytest.raises(HarnessError, match="no mutant in"):
        corpus.read(tmp_path)
    with pytest.raises(HarnessError, match="is no directory: name one"):
        corpus.read(tmp_path / "A-1.cocci")
    written("A-1")
    assert [each.id for each in corpus.chosen(tmp_path, [])[0]] == ["A-1"]
    with pytest.raises(HarnessError, match="has the id A-2"):
        corpus.chosen(tmp_path, ["A-1", "A-2"])


def test_what_is_wrong_with_a_file_is_told_to_who_asks_for_it(written, tmp_path):
    written("A-1")
    written("B-1", promise="P0")
    assert corpus.chosen(tmp_path, ["A-1"])[1] == []
    found, problems = corpus.chosen(tmp_path, ["B-1"])
    assert found == []
    assert "promise is 'P0'" in problems[0]


def test_an_id_that_could_lead_elsewhere_is_refused(written):
    with pytest.raises(HarnessError, match="give letters, a dash and a number"):
        mutant.read(written("x", id="../up-1"))


def test_every_mutant_that_comes_with_the_project_can_be_read():
    found, problems = corpus.read(corpus.CORPUS)
    assert found
    assert not problems


def test_the_page_of_the_corpus_explains_every_word_that_a_mutant_may_use():
    page = (corpus.CORPUS / "README.md").read_text()
    prefixes = {each.id.partition("-")[0] for each in corpus.read(corpus.CORPUS)[0]}
    words = prefixes | {*mutant.CLASSES, *mutant.DEVICES, *mutant.ORACLES, *mutant.KINDS}
    words |= {DETECTED, SURVIVED, UNCLEAR, BAD, UNFIT, EQUIVALENT}
    assert {word for word in words if f"`{word}`" not in page} == set()
