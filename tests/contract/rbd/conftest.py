"""A laboratory of RBD with one snapshot, in the namespace of the parameter or in none."""

from collections.abc import Iterator

import pytest

from snapmanage.drivers.rbd.driver import RbdDriver
from tests.contract.labs.rbd import RbdLab, rbd_lab
from tests.contract.rbd.helpers import DAILY


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[RbdLab]:
    with rbd_lab(request, getattr(request, "param", "")) as made:
        made.add_snapshot(DAILY)
        yield made


@pytest.fixture
def driver(lab: RbdLab) -> RbdDriver:
    return lab.driver
