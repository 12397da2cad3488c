"""This file checks that a kernel in the cache is whole, and the one that was asked for."""

import dataclasses
import errno
import multiprocessing
import os

import pytest

from vfio_hw import cache
from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import build, names, source, store
from vfio_hw.vm.kernels.archive import Package

PACKAGE = Package("linux-source-7.3", "7.3.4-1~bpo13+1")
RECIPE = store.Recipe(PACKAGE, ("base",), "f" * 64, "gcc version 12.2.0", "x86_64")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path))
    monkeypatch.setattr(store, "compiler", lambda: RECIPE.compiler)
    monkeypatch.setattr(store.platform, "machine", lambda: RECIPE.architecture)
    monkeypatch.setattr(store.tools, "require", lambda *_: None)
    return tmp_path


def put(recipe):
    with cache.published(recipe.directory) as partial:
        store.Record("7.3.4", "7.3.4", recipe, 200.0, 2000).write(partial)


def wanted_now():
    return store.recipe(PACKAGE, ("base",), names.config.read(["base"]))


@pytest.mark.parametrize(
    "change",
    [
        {"package": Package("linux-source-7.3", "7.3.4-2")},
        {"fragment_hash": "0" * 64},
        {"compiler": "gcc version 13.1.0"},
        {"architecture": "s390x"},
        {"fragments": ("base", "debug")},
    ],
)
def test_whatever_a_kernel_depends_on_changes_its_directory(change):
    other = dataclasses.replace(RECIPE, **change)
    assert other.key != RECIPE.key
    put(RECIPE)
    assert store.find("latest", RECIPE)
    assert store.find("latest", other) is None


def test_a_built_kernel_is_found_with_all_its_parts():
    put(RECIPE)
    kernel = store.find("latest", RECIPE)
    assert kernel.release == "7.3.4"
    assert kernel.image == RECIPE.directory / "bzImage"
    assert kernel.modules == RECIPE.directory / "lib" / "modules" / "7.3.4"
    assert kernel.headers == RECIPE.directory / "include"


@pytest.mark.parametrize("text", [None, "", "{}", '{"recipe": 1}', '{"release": "7.3.4"'])
def test_a_directory_without_a_whole_record_is_no_kernel(text):
    RECIPE.directory.mkdir(parents=True)
    (RECIPE.directory / "bzImage").touch()
    if text is not None:
        (RECIPE.directory / "kernel.json").write_text(text)
    assert store.find("latest", RECIPE) is None
    assert names.built() == []


def test_a_record_of_another_kernel_is_not_taken_for_this_one():
    put(RECIPE)
    other = dataclasses.replace(RECIPE, compiler="gcc version 13.1.0")
    RECIPE.directory.rename(other.directory)
    assert store.find("latest", other) is None
    assert names.built() == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, HarnessError, OSError])
def test_work_that_does_not_end_well_leaves_nothing(here, failure):
    target = here / "kernel" / "some"
    with pytest.raises(failure), cache.published(target) as partial:
        (partial / "bzImage").touch()
        raise failure
    assert list((here / "kernel").iterdir()) == []


def test_what_a_killed_process_left_behind_is_replaced(here):
    target = here / "kernel" / "some"
    (here / "kernel" / "some.partial" / "old").mkdir(parents=True)
    with cache.published(target) as partial:
        assert list(partial.iterdir()) == []
        (partial / "new").touch()
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_name_is_known_without_archive_once_its_kernel_is_built(monkeypatch):
    monkeypatch.setattr(names, "Archive", None)
    assert names.known("latest") is None
    store.point("latest", PACKAGE)
    assert names.known("latest") is None
    put(wanted_now())
    assert names.get("latest", say=print).release == "7.3.4"
    assert [kernel.name for kernel in names.built()] == ["latest"]


def test_a_kernel_of_another_fragment_goes_by_its_version():
    store.point("latest", PACKAGE)
    put(RECIPE)
    put(wanted_now())
    found = {kernel.directory: kernel.name for kernel in names.built()}
    assert found == {RECIPE.directory: "7.3.4", wanted_now().directory: "latest"}


def test_a_changed_fragment_builds_the_same_source_again_without_the_archive(monkeypatch):
    store.point("latest", PACKAGE)
    put(RECIPE)  # by another fragment than today's
    source.directory(PACKAGE).mkdir(parents=True)
    monkeypatch.setattr(build, "build", lambda recipe, *_: put(recipe))
    monkeypatch.setattr(names.Archive, "packages", None)
    kernel = names.get("latest", say=print)
    assert kernel.directory == wanted_now().directory != RECIPE.directory


def test_refresh_asks_the_archive_and_moves_the_name(monkeypatch):
    newer = Package("linux-source-7.4", "7.4.1-1")
    store.point("latest", PACKAGE)
    put(wanted_now())
    source.directory(newer).mkdir(parents=True)
    monkeypatch.setattr(build, "build", lambda recipe, *_: put(recipe))
    monkeypatch.setattr(names.Archive, "packages", lambda _: [PACKAGE, newer])
    names.get("latest", say=print, refresh=True)
    assert store.pointer("latest") == newer


def failing(reasons):
    def named(name, say, refresh):
        raise HarnessError(reasons[name])

    return named


def test_a_latest_that_can_not_be_had_gives_way_to_the_long_term_kernel(monkeypatch):
    said = []
    monkeypatch.setattr(names, "_make", failing({"latest": "it does not compile"}))
    monkeypatch.setattr(names, "known", lambda name: "the kernel" if name == "6.12" else None)
    assert names.get("latest", say=said.append) == "the kernel"
    assert "6.12" in said[-1] and "it does not compile" in said[-1]


def test_without_the_fallback_both_reasons_are_given(monkeypatch):
    monkeypatch.setattr(names, "_make", failing({"latest": "bad code", "6.12": "it is gone"}))
    with pytest.raises(HarnessError, match=r"bad code.*6\.12: it is gone"):
        names.get("latest", say=print)


@pytest.mark.parametrize("name", ["latest-fast", "6.6-cov", "debian", "5.10", ""])
def test_an_unknown_name_is_refused_with_those_that_are_known(name):
    with pytest.raises(HarnessError, match=r"latest, latest-debug, .*6\.12, .*6\.1"):
        names.get(name, say=print)


def test_a_full_disk_is_one_sentence(monkeypatch, here):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(names, "_make", full)
    with pytest.raises(HarnessError, match=f"no space left on the file system of {here}"):
        names.get("6.12", say=print)


def test_too_small_a_disk_is_refused_before_the_work_begins(here):
    with pytest.raises(HarnessError, match=rf"thing needs 10{'0' * 12} MB in {here}"):
        cache.require_space(here, 10**13, "thing")
    cache.require_space(here, 0, "thing")


def hold(ready, done):
    with cache.locked("kernels", "holding", print):
        ready.set()
        done.wait(30)


def test_a_second_build_waits_says_so_and_gives_up_at_its_deadline():
    spawn = multiprocessing.get_context("fork")
    ready, done, said = spawn.Event(), spawn.Event(), []
    holder = spawn.Process(target=hold, args=(ready, done))
    holder.start()
    assert ready.wait(30)
    try:
        with (
            pytest.raises(HarnessError, match=f"building: process {holder.pid} held"),
            cache.locked("kernels", "building", said.append, deadline=0.3),
        ):
            pytest.fail("the lock is held by another process")
        assert said == [f"building: waiting for process {holder.pid}, which is at it already"]
    finally:
        done.set()
        holder.join(30)
    with cache.locked("kernels", "building", said.append, deadline=0.3):
        pass


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"VFIO_HW_CACHE": "own", "XDG_CACHE_HOME": "xdg"}, "own"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/vfio-hw"),
        ({}, "home/.cache/vfio-hw"),
    ],
)
def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path, environment, place):
    for name in ("VFIO_HW_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in environment.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert cache.directory() == tmp_path / place
    assert (tmp_path / place).is_dir()


def test_a_cache_that_can_not_be_made_is_one_sentence(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(HarnessError, match="can not be made"):
        cache.directory()
