"""A short round of random faults on each database; `make chaos` runs long ones."""

from pathlib import Path

import pytest

from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.chaos.fleet.fleet import fleet
from tests.chaos.storm.faults import FAULTS
from tests.chaos.storm.rounds import HOSTS, run_round


@pytest.mark.parametrize("database", ["mariadb", "postgresql"])
def test_no_request_is_lost_in_a_storm(
    request: pytest.FixtureRequest, tmp_path: Path, rabbitmq: RabbitMQ, database: str
) -> None:
    with fleet(tmp_path, rabbitmq, request.getfixturevalue(database), HOSTS) as deployment:
        report = run_round(deployment, seed=f"of the tests on {database}", requests=200, faults=len(FAULTS))

    assert report.faults.keys() == {fault.__name__ for fault in FAULTS}
    assert report.promises == 200
    assert not report.violations, str(report)
