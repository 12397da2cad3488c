"""The modules that a kernel needs to reach its root, for kernels that do not have them built in."""

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

from vfio_hw.errors import HarnessError

# Each with the option that makes it.
_NEEDED = {
    "virtio_pci": "CONFIG_VIRTIO_PCI",
    "9pnet_virtio": "CONFIG_NET_9P_VIRTIO",
    "9p": "CONFIG_9P_FS",
    "overlay": "CONFIG_OVERLAY_FS",
}
_READERS: dict[str, Callable[[bytes], bytes]] = {
    ".ko": bytes,
    ".gz": gzip.decompress,
    ".xz": lzma.decompress,
}


def preloaded(modules: Path | None) -> dict[str, bytes]:
    """Name and content of each module to be loaded first, in the order in which it must be done.

    :param modules: lib/modules/RELEASE, or None where nothing is known of the kernel's modules.
    :raises HarnessError: the kernel has one neither built in nor as a module, so can not boot here.
    """
    if modules is None:
        return {}
    files = _dependencies(modules)
    order: list[str] = []
    built_in = _built_in(modules)
    for name, option in _NEEDED.items():
        if name in built_in:
            continue
        if name not in files:
            if built_in:
                raise HarnessError(
                    f"the kernel of {modules} has no {name}, and a guest's root is reached by it:"
                    f" build it with {option}=y or =m"
                )
            continue  # nobody says what is built in
        # A module is listed with all that it depends on, itself before those.
        order += [path for path in reversed(files[name]) if path not in order]
    return {_name(path): _content(modules / path) for path in order}


def _dependencies(modules: Path) -> dict[str, list[str]]:
    found = {}
    for line in _text(modules / "modules.dep").splitlines():
        path, _, needed = line.partition(":")
        found[_name(path)] = [path, *needed.split()]
    return found


def _built_in(modules: Path) -> set[str]:
    return {_name(line) for line in _text(modules / "modules.builtin").split()}


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def _content(path: Path) -> bytes:
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise HarnessError(
            f"{path} is compressed in a way that is not known here: build the kernel with"
            " CONFIG_MODULE_COMPRESS_XZ or without compression"
        )
    return reader(path.read_bytes())
