"""What each kind of device must be able to do: ``fixtures/devices/KIND.toml``.

A kind may do more. What it does no longer is a failure, not a reason to skip a test.

* ``flags``: of VFIO_DEVICE_GET_INFO, without ``VFIO_DEVICE_FLAGS_``;
* ``[regions]``: by index, their ``flags`` without ``VFIO_REGION_INFO_FLAG_``, and ``capabilities``;
* ``[interrupts]``: by index, their least ``count``, and ``flags`` without ``VFIO_IRQ_INFO_``; where
  ``resizes`` is given, vectors can be added later (``VFIO_IRQ_INFO_NORESIZE`` is not set);
* ``[features]``: by name without ``VFIO_DEVICE_FEATURE_``.

A feature, an interrupt and ``resizes`` may have an ``option``, without which the kernel does not
promise it, or say ``since`` which release its driver has it.
"""

import errno
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vfio_hw.errors import HarnessError, Unsupported
from vfio_hw.host.promise import Promise
from vfio_hw.uapi import lib
from vfio_hw.vfio.device import Device
from vfio_hw.vfio.feature import PROBE, feature_errno

DIRECTORY = Path(__file__).parents[2] / "fixtures" / "devices"


@dataclass(frozen=True)
class RegionPromise:
    """What a region has, as bits and as capability ids; its size is more than nothing."""

    flags: int
    capabilities: frozenset[int] = frozenset()


@dataclass(frozen=True)
class InterruptPromise:
    """What an interrupt index has: so many vectors at least, and these bits.

    ``there`` and ``resizes`` say on which kernels the index, and later vectors, are promised; of
    an index without ``resizes`` nothing is promised there.
    """

    flags: int
    count: int
    there: Promise
    resizes: Promise | None = None


@dataclass(frozen=True)
class Kind:
    """One kind of device; regions and interrupts are by their index."""

    name: str
    flags: int
    regions: Mapping[int, RegionPromise]
    interrupts: Mapping[int, InterruptPromise]
    features: Mapping[str, Promise]


@functools.cache
def kind(name: str, directory: Path = DIRECTORY) -> Kind:
    """The description of this kind.

    :raises HarnessError: there is none, or it is not one.
    """
    path = directory / f"{name}.toml"
    try:
        return _read(name, tomllib.loads(path.read_text()))
    except OSError:
        raise HarnessError(f"there is no {path}: describe what a {name} must do in it") from None
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError) as error:
        raise HarnessError(f"{path}: not the description of a kind of device: {error}") from None


def need_features(device: Device, of: str, *names: str) -> None:
    """See that the device, of the kind ``of``, has features that its description promises.

    :param names: in the header after VFIO_DEVICE_FEATURE_.
    :raises Unsupported: it says that it does not know one; its kind says which kernels promise it.
    """
    for name in names:
        promise = kind(of).features[name]
        number = getattr(lib, f"VFIO_DEVICE_FEATURE_{name}")
        if feature_errno(device, number | PROBE) == errno.ENOTTY:
            raise Unsupported(
                f"{device.name} has no feature {name}, which an {of} has on other kernels",
                option=promise.option,
                since=promise.since,
            )


def _read(name: str, data: dict[str, Any]) -> Kind:
    return Kind(
        name,
        _bits("VFIO_DEVICE_FLAGS", data["flags"]),
        {
            getattr(lib, index): RegionPromise(
                _bits("VFIO_REGION_INFO_FLAG", each["flags"]),
                frozenset(getattr(lib, id_) for id_ in each.get("capabilities", ())),
            )
            for index, each in data["regions"].items()
        },
        {getattr(lib, index): _interrupt(**each) for index, each in data["interrupts"].items()},
        {feature: Promise(**each) for feature, each in data.get("features", {}).items()},
    )


def _interrupt(
    flags: list[str], count: int, resizes: dict[str, str] | None = None, **there: str
) -> InterruptPromise:
    return InterruptPromise(
        _bits("VFIO_IRQ_INFO", flags),
        count,
        Promise(**there),
        None if resizes is None else Promise(**resizes),
    )


def _bits(prefix: str, names: list[str]) -> int:
    bits: int = 0
    for name in names:
        bits |= getattr(lib, f"{prefix}_{name}")
    return bits
