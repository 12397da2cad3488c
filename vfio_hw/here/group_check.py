"""What `vfio-hw doctor` says of the IOMMU groups: which can not go to user space, and why."""

from collections.abc import Iterator
from pathlib import Path

from vfio_hw.here.check import GOOD, NOTE, Check
from vfio_hw.host.sysfs import link_name
from vfio_hw.host.tree import Listed

_BRIDGE = 0x06
_TOLD = 3


def viability(found: list[Listed], others: dict[int, list[str]], sys: Path = Path("/sys")) -> Check:
    """One line for all groups; those that hold nothing but bridges are nobody's to take.

    :param others: the members that are no PCI functions, as "bus name", by group.
    :param sys: where sysfs is.
    """
    numbers = sorted({*others, *(each.group for each in found if each.group is not None)})
    if not numbers:
        return Check("groups", NOTE, "there is none", "see to the IOMMU, above")
    bad = [
        f"group {number} ({why})" for number in numbers if (why := _why(number, found, others, sys))
    ]
    if not bad:
        return Check("groups", GOOD, f"none of {len(numbers)} has a member that is in use")
    more = f", and {len(bad) - _TOLD} more" if bad[_TOLD:] else ""
    text = f"{len(bad)} of {len(numbers)} can not be taken: {', '.join(bad[:_TOLD])}{more}"
    return Check("groups", NOTE, text, "vfio-hw list says what to do")


def _why(number: int, found: list[Listed], others: dict[int, list[str]], sys: Path) -> str:
    return next(_reasons(number, found, others, sys), "")


def _reasons(
    number: int, found: list[Listed], others: dict[int, list[str]], sys: Path
) -> Iterator[str]:
    for each in found:
        if each.group == number and each.function.class_code >> 16 != _BRIDGE:
            for refusal in each.refusals:
                yield f"{refusal.address}: {refusal.reason} [{refusal.rule}]"
    for other in others.get(number, []):
        bus, _, name = other.partition(" ")
        driver = link_name(sys / "bus" / bus / "devices" / name / "driver")
        if driver is not None and "vfio" not in driver:
            yield f"{other} has the driver {driver}"
