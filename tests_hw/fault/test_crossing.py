"""This file lets something fail in an operation while its device is taken away (P7, P1).

Two ways back out of the same call, at once: the unwinding of what failed, and the refusal.
"""

import random

import pytest

from vfio_hw.fixtures import Paired
from vfio_hw.fixtures.patience import patience, tries
from vfio_hw.fixtures.races import replayed
from vfio_hw.fixtures.selection import as_parameters, pairs_of
from vfio_hw.race.catalogue.choice import Chosen
from vfio_hw.race.catalogue.faulty import SPARED, Drawn
from vfio_hw.race.catalogue.judging import judge_of
from vfio_hw.race.outcome import Round

#: Of the pairs that the seed draws, those that are crossed.
ONE_OF = 10
#: A slow pair has few rounds, and may have none in which something fails and two meet: then it is
#: given its time again, at most so often, and is skipped when that does not fit into a test's.
TIMES = 3


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize(
        ("subject", "chosen"),
        as_parameters(pairs_of(metafunc.config, every=ONE_OF)),
        indirect=["subject"],
    )


@pytest.mark.promise("P7", "P1")
def test_what_fails_while_its_device_is_disturbed_leaves_nothing(
    injection, chosen: Chosen, paired: Paired, record_property, pytestconfig
):
    again = replayed(pytestconfig)
    drawn = Drawn(random.Random(pytestconfig.option.seed), always=again.nth if again else None)
    judged, legal = judge_of(chosen.pair), chosen.pair.legal

    def judge(played: Round) -> str | None:
        return drawn.judge(played, legal) or judged(played)

    spared = chosen.pair.operation.name in SPARED
    for _ in tries(1 if again or spared else TIMES, patience(pytestconfig)):
        paired(chosen, judge, drawn.hinder)
        if drawn.crossed:
            break
    record_property("fired", drawn.fired)
    record_property("crossed", drawn.crossed)
    assert drawn.fired or spared, f"in {drawn.rounds} rounds nothing failed"
    assert drawn.crossed or spared, (
        f"in {drawn.fired} of {drawn.rounds} rounds something failed, and in none of them two met"
    )
