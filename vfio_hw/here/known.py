"""Whether the functions that a run on this machine was given are tested by it at all."""

from collections.abc import Iterable, Sequence

from vfio_hw.errors import HarnessError
from vfio_hw.host.pci import KINDS, PciFunction
from vfio_hw.report.events import Result


def must_be_known(functions: Iterable[PciFunction]) -> None:
    """There are tests for each of them.

    :raises HarnessError: of one there are none.
    """
    for function in functions:
        if function.kind is None:
            raise HarnessError(
                f"no test is written for {function} ({function.vendor:04x}:{function.device:04x}),"
                f" only for {', '.join(sorted(KINDS))}: name one of these, or add its kind, in"
                " fixtures/devices and as CONTRIBUTING.md says under 'A machine'"
            )


def must_be_judged(functions: Iterable[PciFunction], results: Sequence[Result]) -> None:
    """Some test that ended with a verdict has used each of them.

    :raises HarnessError: none has.
    """
    ended = [result for result in results if result.verdict not in ("skipped", "error")]
    judged = {address for result in ended for address in result.properties.get("devices", ())}
    lacking = [f"{each} ({each.kind})" for each in functions if each.address not in judged]
    if lacking:
        raise HarnessError(
            f"no test has judged {', '.join(lacking)}: those that use it were skipped, see the"
            " reasons, or were not among the tests that were named; of several functions of a kind"
            " most tests take the first, so give each a run of its own"
        )
