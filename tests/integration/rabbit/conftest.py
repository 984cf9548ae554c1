"""A broker of each version, with an exchange, a queue name and a publisher."""

from collections.abc import Iterator

import pytest

from snapmanage.bus.rabbit.bus import Publisher
from snapmanage.bus.rabbit.topology import Topology
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.integration.rabbit.queues import connector
from tests.services.guests.trixie import BROKERS


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> RabbitMQ:
    """Return the broker of each installed version.

    This fixture must not have the name of a broker's own fixture, or pytest would start that broker for each test.
    """
    made: RabbitMQ = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def topology() -> Topology:
    """Return the topology of an exchange that no other test uses."""
    return Topology(unique("exchange"))


@pytest.fixture
def queue() -> str:
    return unique("volume")


@pytest.fixture
def publisher(broker: RabbitMQ, topology: Topology) -> Iterator[Publisher]:
    made = Publisher(connector(broker), topology)
    yield made
    made.close()
