"""This file checks every operation of the catalogue against everything that may disturb it.

Which outcomes a pair may have follows from the catalogue, where each has its reason. A removal
returns once the last descriptor is closed, no sooner and not much later. The oracles judge what is
left. Which pairs run: see ``--pairs``.
"""

import pytest

from vfio_hw.fixtures import Paired
from vfio_hw.fixtures.selection import as_parameters, pairs_of
from vfio_hw.race.catalogue.choice import Chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize(
        ("subject", "chosen"),
        as_parameters(pairs_of(metafunc.config)),
        indirect=["subject"],
    )


@pytest.mark.promise("P1", "P3", "P7")
def test_a_pair_ends_as_the_catalogue_says(chosen: Chosen, paired: Paired):
    paired(chosen)
