"""A short round of random chaos; `make chaos` runs long ones."""

from pathlib import Path

from tests.chaos.blows import BLOWS
from tests.chaos.fleet import fleet
from tests.chaos.storm import HOSTS, blow_over
from tests.services.mariadb import MariaDB
from tests.services.rabbitmq import RabbitMQ


def test_nothing_is_lost_in_a_storm(tmp_path: Path, rabbitmq: RabbitMQ, mariadb: MariaDB) -> None:
    with fleet(tmp_path, rabbitmq, mariadb, HOSTS) as hurt:
        report = blow_over(hurt, seed="of the tests", requests=200, blows=len(BLOWS))

    assert report.blows.keys() == {blow.__name__ for blow in BLOWS}
    assert report.promises == 200
    assert not report.violations, str(report)
