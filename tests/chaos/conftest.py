"""A deployment for tests that leave it idle and intact; these tests share it."""

from collections.abc import Iterator

import pytest

from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.chaos.fleet.fleet import Fleet, fleet
from tests.chaos.fleet.machines import HOST


@pytest.fixture(scope="package")
def deployment(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB) -> Iterator[Fleet]:
    """Run API, relay, audit and a server of one backend, on MariaDB."""
    with fleet(tmp_path_factory.mktemp("deployment"), rabbitmq, mariadb, [HOST]) as made:
        yield made
