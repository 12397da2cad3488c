"""The kernels that guests boot: fetched from the Debian archive, configured, built and cached.

Kernels in the cache depend on nothing but their recipe: source version, fragments, compiler. A
directory there is whole when it exists, because it is made under another name.
"""

from vfio_hw.vm.kernels.names import NAMES, built, get
from vfio_hw.vm.kernels.store import Kernel

__all__ = ["NAMES", "Kernel", "built", "get"]
