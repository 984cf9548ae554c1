"""A short round of random chaos on each database; `make chaos` runs long ones."""

from pathlib import Path

import pytest

from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.chaos.blows import BLOWS
from tests.chaos.fleet import fleet
from tests.chaos.storm import HOSTS, blow_over


@pytest.mark.parametrize("database", ["mariadb", "postgresql"])
def test_nothing_is_lost_in_a_storm(
    request: pytest.FixtureRequest, tmp_path: Path, rabbitmq: RabbitMQ, database: str
) -> None:
    with fleet(tmp_path, rabbitmq, request.getfixturevalue(database), HOSTS) as hurt:
        report = blow_over(hurt, seed=f"of the tests on {database}", requests=200, blows=len(BLOWS))

    assert report.blows.keys() == {blow.__name__ for blow in BLOWS}
    assert report.promises == 200
    assert not report.violations, str(report)
