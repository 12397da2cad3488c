"""This file checks which modules a guest loads before it has its root."""

import gzip
import lzma

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.vm.preload import preloaded

BUILT_IN = "kernel/fs/overlayfs/overlay.ko\nkernel/drivers/virtio/virtio_pci.ko\n"
DEPENDENCIES = """\
kernel/net/9p/9pnet_virtio.ko.gz: kernel/net/9p/9pnet.ko
kernel/fs/9p/9p.ko.xz: kernel/fs/netfs/netfs.ko kernel/net/9p/9pnet.ko
kernel/net/9p/9pnet.ko:
kernel/fs/netfs/netfs.ko:
"""


@pytest.fixture
def modules(tmp_path):
    files = {
        "kernel/net/9p/9pnet_virtio.ko.gz": gzip.compress(b"virtio"),
        "kernel/fs/9p/9p.ko.xz": lzma.compress(b"9p"),
        "kernel/net/9p/9pnet.ko": b"net",
        "kernel/fs/netfs/netfs.ko": b"netfs",
        "modules.dep": DEPENDENCIES.encode(),
        "modules.builtin": BUILT_IN.encode(),
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_each_comes_after_what_it_depends_on_and_uncompressed(modules):
    assert list(preloaded(modules).items()) == [
        ("9pnet", b"net"),
        ("9pnet_virtio", b"virtio"),
        ("netfs", b"netfs"),
        ("9p", b"9p"),
    ]


def test_what_is_built_in_is_not_loaded(modules):
    text = BUILT_IN + "kernel/fs/9p/9p.ko\nkernel/net/9p/9pnet_virtio.ko\n"
    (modules / "modules.builtin").write_text(text)
    assert preloaded(modules) == {}


def test_a_kernel_that_can_not_reach_its_root_is_told_so(modules):
    (modules / "modules.builtin").write_text("kernel/fs/overlayfs/overlay.ko\n")
    with pytest.raises(HarnessError, match=r"has no virtio_pci, .*CONFIG_VIRTIO_PCI=y"):
        preloaded(modules)


def test_of_a_kernel_without_lists_nothing_is_known(modules):
    (modules / "modules.builtin").unlink()
    (modules / "modules.dep").unlink()
    assert preloaded(modules) == {}
    assert preloaded(None) == {}


def test_an_unknown_compression_is_told(modules):
    (modules / "modules.dep").write_text("kernel/fs/9p/9p.ko.zst:\n" + DEPENDENCIES)
    text = DEPENDENCIES.replace("9p.ko.xz", "9p.ko.zst")
    (modules / "modules.dep").write_text(text)
    (modules / "kernel/fs/9p/9p.ko.zst").touch()
    with pytest.raises(HarnessError, match="compressed in a way"):
        preloaded(modules)
