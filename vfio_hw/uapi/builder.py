"""Builds the extension ``vfio_hw.uapi._binding``: the declarations, ioctl(2) and the race engine.

The C text of the declarations is what cffi reads, what the compiler sees and what the header check
compares with a kernel's own headers. The system's linux/vfio.h is never included: it is too old.
"""

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cffi

from vfio_hw.errors import HarnessError

MODULE = "vfio_hw.uapi._binding"
_HERE = Path(__file__).resolve().parent
_RACE = _HERE.parent / "race"

# In the order in which C needs them.
SUBJECTS = (
    *("container", "group", "device", "region", "irq", "pci", "ccw_ap", "gfx", "cdev"),
    *("feature", "migration", "dma_logging", "type1", "spapr", "zdev"),
    *("iommufd_object", "iommufd_ioas", "iommufd_hwpt", "iommufd_hw_info"),
    *("iommufd_viommu", "iommufd_fault", "kvm"),
)

_IOCTL_CDEF = """
int vfio_hw_ioctl(int fd, unsigned long request, void *argument);
static char *const VFIO_HW_REQUESTS;
static char *const VFIO_HW_CONSTANTS;
static char *const VFIO_HW_INPUTS;
"""

# errno is read in C, before Python can run anything that changes it.
_IOCTL_C = """
static int vfio_hw_ioctl(int fd, unsigned long request, void *argument)
{
    int result = ioctl(fd, request, argument);

    return result < 0 ? -errno : result;
}
"""


def c_text() -> str:
    """All declarations as C that needs nothing but the compiler's and the C library's headers."""
    subjects = ((_HERE / "declarations" / f"{name}.h").read_text() for name in SUBJECTS)
    return "#include <stdint.h>\n#include <sys/ioctl.h>\n\n" + "\n".join(subjects)


def is_current() -> bool:
    """Whether the built extension was made from the sources as they are now; compiles nothing."""
    path = extension_path()
    return path.exists() and _inputs().encode() in path.read_bytes()


def extension_path() -> Path:
    """Where this interpreter looks for the extension when the package is used in place."""
    return _HERE / f"_binding{sysconfig.get_config_var('EXT_SUFFIX')}"


def build(target: Path | None = None) -> Path:
    """Compile the extension to ``target``, by default in place; a failure leaves the old one.

    :raises HarnessError: there is no C compiler, or it refused; its messages are on stderr.
    """
    target = target or extension_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=target.parent) as scratch:
        built = Path(scratch) / target.name
        source = Path(scratch) / "_binding.c"
        _ffi().emit_c_code(str(source))
        _compile(source, built)
        built.replace(target)
    return target


def _ffi() -> cffi.FFI:
    ffi = cffi.FFI()
    ffi.cdef(_cdef_text())
    ffi.cdef(_IOCTL_CDEF)
    ffi.cdef((_RACE / "engine.cdef").read_text())
    strings = "".join(f'#define {name} "{text}"\n' for name, text in _strings().items())
    source = "#include <errno.h>\n" + c_text() + strings + _IOCTL_C + '#include "engine.h"\n'
    ffi.set_source(MODULE, source, compiler_verbose=0)
    return ffi


def _strings() -> dict[str, str]:
    """What the extension says of itself: names in the order of the headers, and its sources."""
    numbers = re.findall(r'^#define (\w+) ([^"\n]+)$', c_text(), re.MULTILINE)
    requests = [name for name, value in numbers if value.startswith("_IO")]
    constants = [name for name, _ in numbers if name not in requests]
    return {
        "VFIO_HW_REQUESTS": " ".join(requests),
        "VFIO_HW_CONSTANTS": " ".join(constants),
        "VFIO_HW_INPUTS": _inputs(),
    }


def _cdef_text() -> str:
    """The declarations as cffi reads them: it leaves every value for the compiler to find."""
    text = re.sub(r"^#include .*\n", "", c_text(), flags=re.MULTILINE)
    text = re.sub(r'^#define (\w+) ".*"$', r"static char *const \1;", text, flags=re.MULTILINE)
    return re.sub(r"^#define (\w+) .*$", r"#define \1 ...", text, flags=re.MULTILINE)


def _compile(source: Path, target: Path) -> None:
    command = [os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra", "-pthread"]
    command += ["-fPIC", "-shared", f"-I{sysconfig.get_path('include')}", f"-I{_RACE}"]
    command += [str(source), *map(str, sorted(_RACE.glob("*.c"))), "-o", str(target)]
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError:
        raise HarnessError(
            f"building {MODULE} needs a C compiler and {command[0]} is not there: install gcc"
        ) from None
    except subprocess.CalledProcessError as error:
        raise HarnessError(
            f"building {MODULE} with {command[0]} ended with status {error.returncode}: "
            "see the compiler's messages above, and install libc6-dev and python3-dev if missing"
        ) from None


def _inputs() -> str:
    """A line that is in the extension and changes with everything that the extension is made of."""
    digest = hashlib.sha256(cffi.__version__.encode())
    for path in _input_files():
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return f"vfio-hw inputs {digest.hexdigest()}"


def _input_files() -> Iterator[Path]:
    yield Path(__file__)
    for name in SUBJECTS:
        yield _HERE / "declarations" / f"{name}.h"
    yield from sorted(path for path in _RACE.iterdir() if path.suffix in (".c", ".h", ".cdef"))


def main() -> int:
    """Build in place unless the extension is current."""
    try:
        if not is_current():
            print(f"built {build()}")
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
