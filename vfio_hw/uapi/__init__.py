"""What the kernel's headers say of VFIO and iommufd, and the one door to ioctl(2)."""

try:
    from vfio_hw.uapi._binding import ffi, lib

    if not hasattr(lib, "VFIO_HW_CONSTANTS"):
        raise ImportError("it was built from older declarations", name="_binding")
    from vfio_hw.uapi.ioctl import CData, ioctl, ioctl_errno, struct
except ImportError as error:
    # The name is the full one when there is no file, the last part when there is a broken one.
    if error.name is None or error.name.rpartition(".")[2] != "_binding":
        raise
    # The builder is imported through this package before there is an extension to import.
    _reason = str(error)

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from vfio_hw.errors import HarnessError

        raise HarnessError(
            f"vfio_hw.uapi.{name} needs the extension vfio_hw.uapi._binding and importing it said "
            f"'{_reason}': run python -m vfio_hw.uapi.builder"
        )


__all__ = ["CData", "ffi", "ioctl", "ioctl_errno", "lib", "struct"]
