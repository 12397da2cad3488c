"""This file checks kernels given by path: what their images say, and which modules go with them."""

import os

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.vm.kernels import image, names, store, tree


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setenv("VFIO_HW_CACHE", str(tmp_path / "cache"))
    return tmp_path


def write_image(path, release, magic=b"HdrS", offset=0x3000):
    head = bytearray(0x5000)
    text = f"{release} (who@where) #1 SMP\0junk".encode()
    head[0x200 + offset : 0x200 + offset + len(text)] = text
    head[0x202:0x206] = magic
    head[0x20E:0x210] = offset.to_bytes(2, "little")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head)


def write_modules(path):
    path.mkdir(parents=True)
    (path / "modules.dep").touch()


@pytest.fixture
def built(here):
    root = here / "linux"
    write_image(root / "arch/x86/boot/bzImage", "7.3.4-mine")
    (root / "modules.order").write_text("drivers/vfio/vfio.o\nkernel/lib/old.ko\n")
    for name in ("drivers/vfio/vfio.ko", "lib/old.ko"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("module")
    return root


def test_the_release_is_the_first_word_of_the_version_string(here):
    write_image(here / "bzImage", "7.3.4-mine+")
    assert image.release(here / "bzImage") == "7.3.4-mine+"


@pytest.mark.parametrize("how", [{"magic": b"none"}, {"offset": 0}, {"release": ""}])
def test_a_file_that_is_no_kernel_image_is_refused(here, how):
    write_image(here / "bzImage", **({"release": "7.3.4"} | how))
    (here / "bzImage").write_bytes(
        (here / "bzImage").read_bytes().replace(b"(who@where) #1 SMP", b"")
    )
    with pytest.raises(HarnessError, match="is not a bzImage"):
        image.release(here / "bzImage")


def test_an_empty_file_is_no_kernel_image(here):
    (here / "bzImage").touch()
    with pytest.raises(HarnessError, match="is not a bzImage"):
        image.release(here / "bzImage")


@pytest.mark.parametrize("below", ["", "lib/modules/7.3.4"])
def test_an_image_takes_the_modules_of_its_release(here, below):
    write_image(here / "bzImage", "7.3.4")
    write_modules(here / "root/lib/modules/7.3.4")
    kernel = names.get(str(here / "bzImage"), modules=here / "root" / below, say=print)
    assert kernel.modules == here / "root/lib/modules/7.3.4"
    assert (kernel.release, kernel.headers) == ("7.3.4", None)


@pytest.mark.parametrize("below", ["", "lib/modules/6.1.0"])
def test_modules_of_another_release_are_refused(here, below):
    write_image(here / "bzImage", "7.3.4")
    write_modules(here / "root/lib/modules/6.1.0")
    with pytest.raises(HarnessError, match=r"of kernel 7\.3\.4, and .* modules of 6\.1\.0"):
        names.get(str(here / "bzImage"), modules=here / "root" / below, say=print)


def test_modules_that_depmod_has_not_seen_are_refused(here):
    (here / "root/lib/modules/7.3.4").mkdir(parents=True)
    with pytest.raises(HarnessError, match=r"no modules\.dep"):
        store.modules_of(here / "root", "7.3.4")


def test_an_image_without_modules_is_refused(here):
    write_image(here / "bzImage", "7.3.4")
    with pytest.raises(HarnessError, match=r"without its modules.*lib/modules/7\.3\.4"):
        names.get(str(here / "bzImage"), say=print)


def test_a_tree_without_an_image_is_refused(here):
    (here / "linux").mkdir()
    with pytest.raises(HarnessError, match="has no arch/x86/boot/bzImage"):
        names.get(str(here / "linux"), say=print)


def test_a_path_where_nothing_is_is_refused(here):
    with pytest.raises(HarnessError, match="no kernel at"):
        names.get(str(here / "nothing"), say=print)


def test_a_tree_whose_build_was_not_finished_is_refused(built):
    (built / "drivers/vfio/vfio.ko").unlink()
    with pytest.raises(HarnessError, match=r"vfio\.ko: No such file.*finish the build"):
        names.get(str(built), say=print)
    (built / "modules.order").unlink()
    with pytest.raises(HarnessError, match="build the tree's modules"):
        names.get(str(built), say=print)


def install_of(release, count):
    def install(_, into):
        count.append(into)
        write_modules(into / "lib/modules" / release)

    return install


@pytest.mark.parametrize(
    "changed",
    ["arch/x86/boot/bzImage", "modules.order", "drivers/vfio/vfio.ko", "lib/old.ko"],
)
def test_a_trees_modules_are_installed_once_and_again_when_anything_was_built(
    built, monkeypatch, changed
):
    installs = []
    monkeypatch.setattr(tree.tools, "require", lambda *_: None)
    monkeypatch.setattr(tree, "_install", install_of("7.3.4-mine", installs))
    first = names.get(str(built), say=print)
    assert names.get(str(built), say=print).modules == first.modules
    assert len(installs) == 1
    os.utime(built / changed, ns=(1, 1))
    assert names.get(str(built), say=print).modules != first.modules
    assert len(installs) == 2


def test_the_image_that_is_booted_stays_what_it_was_when_the_tree_is_built_anew(built, monkeypatch):
    monkeypatch.setattr(tree.tools, "require", lambda *_: None)
    monkeypatch.setattr(tree, "_install", install_of("7.3.4-mine", []))
    image = built / "arch/x86/boot/bzImage"
    first, old = names.get(str(built), say=print), image.read_bytes()
    image.write_bytes(old + b"another")
    assert first.image.read_bytes() == old
    assert names.get(str(built), say=print).image.read_bytes() == image.read_bytes()


def test_a_tree_that_is_built_meanwhile_is_refused(built, here, monkeypatch):
    def install(_, into):
        write_modules(into / "lib/modules/7.3.4-mine")
        os.utime(built / "drivers/vfio/vfio.ko", ns=(1, 1))

    monkeypatch.setattr(tree.tools, "require", lambda *_: None)
    monkeypatch.setattr(tree, "_install", install)
    with pytest.raises(HarnessError, match="is being built"):
        names.get(str(built), say=print)
    assert list((here / "cache" / "trees").iterdir()) == []


def test_a_tree_that_was_configured_anew_after_its_image_was_built_is_refused(
    built, here, monkeypatch
):
    monkeypatch.setattr(tree.tools, "require", lambda *_: None)
    monkeypatch.setattr(tree, "_install", install_of("7.3.5", []))
    with pytest.raises(HarnessError, match=r"of kernel 7\.3\.4-mine, .*modules of 7\.3\.5"):
        names.get(str(built), say=print)
    assert list((here / "cache" / "trees").iterdir()) == []


def test_modules_of_an_archive_kernel_can_not_be_replaced(here):
    with pytest.raises(HarnessError, match="latest has its own modules"):
        names.get("latest", modules=here, say=print)
