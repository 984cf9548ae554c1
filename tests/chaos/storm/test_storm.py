"""A short round of random faults on each database and kind of storage; `make chaos` runs long ones."""

from pathlib import Path

import pytest

from snapmanage.testing import needs
from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.chaos.fleet.fleet import fleet
from tests.chaos.storm.faults import FAULTS
from tests.chaos.storm.rounds import HOSTS, run_round, storage_of

REQUESTS = 200


@pytest.mark.parametrize(("database", "driver"), [("mariadb", "lvm"), ("postgresql", "file")])
def test_no_request_is_lost_in_a_storm(
    request: pytest.FixtureRequest, tmp_path: Path, rabbitmq: RabbitMQ, database: str, driver: str
) -> None:
    if driver == "lvm":
        needs.require("lvs", "losetup", root=True)
    storage = storage_of(driver, REQUESTS)
    with fleet(tmp_path, rabbitmq, request.getfixturevalue(database), HOSTS, storage=storage) as deployment:
        report = run_round(deployment, seed=f"of the tests on {database}", requests=REQUESTS, faults=len(FAULTS))

    assert report.faults.keys() == {fault.__name__ for fault in FAULTS}
    assert report.promises == REQUESTS
    assert not report.violations, str(report)
