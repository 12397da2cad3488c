"""The one door to ioctl(2), and the structs that go through it.

Requests, structs and constants are those of linux/vfio.h and linux/iommufd.h, under their names.
"""

from typing import Any, TypeAlias

from _cffi_backend import _CDataBase

from vfio_hw.errors import KernelRefused, Unsupported
from vfio_hw.uapi import calls
from vfio_hw.uapi._binding import ffi, lib
from vfio_hw.uapi.family import REQUESTS

CData: TypeAlias = _CDataBase

_QUESTIONS = ("VFIO_CHECK_EXTENSION", "KVM_CHECK_EXTENSION")


def ioctl_errno(fd: int, request: str, arg: int | CData = 0) -> tuple[int, int]:
    """Call ioctl(2) and return its result and errno: (result, 0), or (-1, errno) when refused.

    The interpreter lock is released during the call.

    :param request: the name in the header (``VFIO_DEVICE_RESET``).
    :param arg: a number, or a pointer to what the kernel reads and writes in place.
    :raises Unsupported: no header of ours has a request of that name.
    """
    number = REQUESTS.get(request)
    if number is None:
        raise Unsupported(
            f"the ioctl {request} was asked for and no file in vfio_hw/uapi/declarations has it: "
            "check the spelling, or declare it there"
        )
    pointer = ffi.cast("void *", arg) if isinstance(arg, int) else arg
    result = lib.vfio_hw_ioctl(fd, number, pointer)
    # Whether there is an extension, the result says: 0 is a no.
    succeeded = result > 0 if request in _QUESTIONS else result >= 0
    calls.note(request, arg, "positive" if succeeded else "refused")
    return (result, 0) if result >= 0 else (-1, -result)


def ioctl(fd: int, request: str, arg: int | CData = 0, *, on: str = "") -> int:
    """Call ioctl(2) and return its result, which is not negative.

    :param on: what the descriptor is, for the error's sentence (``container``, a device name).
    :raises KernelRefused: with the errno as the kernel gave it.
    """
    result, errno = ioctl_errno(fd, request, arg)
    if errno:
        raise KernelRefused(errno, request, on or f"descriptor {fd}")
    return result


def struct(name: str, **members: Any) -> Any:
    """Allocate a ``struct name``, zeroed but for ``members``, that knows its own size.

    ``argsz``, or the ``size`` that begins an iommufd struct, is the allocated size unless given.
    The flexible array at the end takes a number of elements, or the elements as bytes or a list.
    Memory lives as long as the returned pointer does.
    """
    # From bytes cffi would make the array one longer, for the zero that ends a C string.
    values = {key: list(v) if isinstance(v, bytes) else v for key, v in members.items()}
    pointer = ffi.new(f"struct {name} *", values)
    size, _ = ffi.typeof(f"struct {name}").fields[0]
    if size in ("argsz", "size") and size not in members:
        setattr(pointer, size, ffi.sizeof(pointer[0]))
    return pointer
