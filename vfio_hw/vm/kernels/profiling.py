"""Which objects of a kernel count how often their lines run: VFIO, and what stands next to it.

Kbuild profiles what GCOV_PROFILE says, a variable that each directory's Makefile may set
(Documentation/dev-tools/gcov.rst). One on make's command line goes before all of them, and is
expanded for every object anew: so the source, which all flavours share, stays as it is.
"""

from collections.abc import Sequence

FRAGMENT = "cov"
"""The fragment of configuration that goes with it."""

# As Kbuild names its targets; KVM is built from its architecture's directory.
_OBJECTS = (
    "drivers/vfio/%.o",
    "samples/vfio-mdev/%.o",
    "%/virt/kvm/vfio.o",
    "drivers/iommu/iommufd/device.o",
    "drivers/iommu/iommufd/vfio_compat.o",
)


def variables(fragments: Sequence[str]) -> list[str]:
    """What make is told beside the configuration; nothing when the kernel is not to be profiled."""
    if FRAGMENT not in fragments:
        return []
    # What modpost adds to a module is none of its code.
    profiled = f"$(filter-out %.mod.o,$(filter {' '.join(_OBJECTS)},$@))"
    return [f"GCOV_PROFILE=$(if {profiled},y)"]
