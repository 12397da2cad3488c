"""This file checks that a run which has not tested what it was given is no success."""

import pytest

from vfio_hw.errors import HarnessError
from vfio_hw.here.known import must_be_judged, must_be_known
from vfio_hw.host.pci import PciFunction
from vfio_hw.report.events import Result

EDU = PciFunction("0000:00:04.0", 0x1234, 0x11E8)
OTHER = PciFunction("0000:00:05.0", 0x1234, 0x11E8)
IGB = PciFunction("0000:3b:00.0", 0x8086, 0x10C9)


def result(verdict: str, *functions: PciFunction) -> Result:
    devices = [each.address for each in functions]
    return Result("t::t", verdict, 0.1, properties={"devices": devices})


def test_a_function_that_no_test_is_written_for_is_refused():
    must_be_known([EDU])
    with pytest.raises(HarnessError, match=r"0000:3b:00.0 \(8086:10c9\), only for e1000e, edu,"):
        must_be_known([EDU, IGB])


@pytest.mark.parametrize("verdict", ["passed", "known"])
def test_a_verdict_on_each_is_one(verdict):
    must_be_judged([EDU, OTHER], [result("skipped", EDU), result(verdict, OTHER, EDU)])


@pytest.mark.parametrize(
    "results",
    [
        [result("passed"), result("skipped", EDU)],
        [result("passed", OTHER), result("error", EDU)],
        [Result("t::t", "passed", 0.1)],
    ],
)
def test_skips_and_what_uses_another_of_its_kind_are_no_verdict(results):
    with pytest.raises(HarnessError, match=r"no test has judged 0000:00:04.0 \(edu\)"):
        must_be_judged([EDU], results)
