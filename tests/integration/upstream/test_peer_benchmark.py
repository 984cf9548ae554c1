"""Cinder as the reference of `make bench-peer`, on the services of the tests."""

import sys
from pathlib import Path

from benchmarks.peer import cinder
from benchmarks.world import World
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.rabbitmq import RabbitMQ


def test_cinder_carries_out_queued_requests_with_a_driver_that_answers_at_once(
    rabbitmq: RabbitMQ, mariadb: MariaDB
) -> None:
    figures = cinder.run(World(rabbitmq, mariadb), Path(sys.executable), 5)

    assert (figures["operations"], figures["left_creating"]) == (5, 0)
    assert figures["per_second"] > 0
    assert figures["cpu_ms"]["cinder"] > 0
