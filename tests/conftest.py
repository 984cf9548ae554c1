"""The world that tests share: real services, started when a test first asks for one, stopped in the end.

Tests keep apart inside a service: by a database of their own (`database_url`, `database()`), and on
the broker by names from `snapmanage.testing.services.process.unique`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

import snapmanage.cmd  # noqa: F401 - before anything imports oslo.messaging: it settles how that runs
from snapmanage.testing import needs
from snapmanage.testing.services import mariadb as mariadb_service
from snapmanage.testing.services import postgresql as postgresql_service
from snapmanage.testing.services import rabbitmq as rabbitmq_service
from snapmanage.testing.services.process import running, unique
from tests.services import ceph as ceph_service
from tests.services import keystone as keystone_service
from tests.services import trixie
from tests.services import zfs_fuse as zfs_fuse_service
from tests.services.wiretap import Wiretap, wiretap

pytest_plugins = ["tests.order", "tests.tiers"]

# How long an example takes says more about the machine than about the code.
settings.register_profile("snapmanage", deadline=None, print_blob=True)
settings.load_profile("snapmanage")


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[rabbitmq_service.RabbitMQ]:
    needs.require(*rabbitmq_service.PROGRAMS)
    with running(rabbitmq_service.RabbitMQ) as service:
        yield service


@pytest.fixture(scope="session")
def trixie_rabbitmq() -> Iterator[rabbitmq_service.RabbitMQ]:
    """RabbitMQ 4.0, where a folder of that release is named; `trixie.BROKERS` has this fixture only then."""
    with running(trixie.TrixieRabbitMQ) as service:
        yield service


@pytest.fixture(scope="session")
def mariadb() -> Iterator[mariadb_service.MariaDB]:
    needs.require(*mariadb_service.PROGRAMS)
    with running(mariadb_service.MariaDB) as service:
        yield service


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgresql_service.PostgreSQL]:
    needs.require(*postgresql_service.PROGRAMS)
    with running(postgresql_service.PostgreSQL) as service:
        yield service


@pytest.fixture(scope="session")
def ceph() -> Iterator[ceph_service.Ceph]:
    ceph_service.require()
    with running(ceph_service.Ceph) as service:
        yield service


@pytest.fixture(scope="session")
def keystone() -> Iterator[keystone_service.Keystone]:
    with running(keystone_service.Keystone) as service:
        yield service


@pytest.fixture(scope="session")
def zfs_fuse() -> Iterator[zfs_fuse_service.ZfsFuse]:
    zfs_fuse_service.require_namespaces()
    with running(zfs_fuse_service.ZfsFuse) as service:
        yield service


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new, empty database: the test runs once on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'snapmanage.sqlite'}"
    url: str = request.getfixturevalue(request.param).database()
    return url


@pytest.fixture
def exchange() -> str:
    """A control exchange that no other test uses."""
    return unique("exchange")


@pytest.fixture
def tap(rabbitmq: rabbitmq_service.RabbitMQ, exchange: str) -> Iterator[Wiretap]:
    """What passes the exchange towards auditors."""
    with wiretap(rabbitmq.amqp_url, exchange) as listening:
        yield listening
