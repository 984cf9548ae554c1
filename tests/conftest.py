"""The services that tests share: each starts when a test first requires it, and stops in the end.

Each test uses its own part of a service: a database of its own (`database_url`, `database()`), and names on the broker
from `snapmanage.testing.services.process.unique`.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The first import of oslo.messaging fixes oslo.service's backend for the whole process; snapmanage.cmd selects threads.
import snapmanage.cmd  # noqa: F401
from snapmanage.testing import needs
from snapmanage.testing.services import mariadb as mariadb_service
from snapmanage.testing.services import postgresql as postgresql_service
from snapmanage.testing.services import rabbitmq as rabbitmq_service
from snapmanage.testing.services.process import running, unique
from snapmanage.testing.services.storage import ceph as ceph_service
from snapmanage.testing.services.storage import zfs_fuse as zfs_fuse_service
from tests.services import keystone as keystone_service
from tests.services.guests import trixie
from tests.services.network.wiretap import Wiretap, wiretap

# A shell without job control starts a run in the background with Ctrl-C ignored, and all processes would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.leaks", "tests.order", "tests.tiers"]

# The time of an example depends more on the machine than on the code.
settings.register_profile("snapmanage", deadline=None, print_blob=True)
settings.load_profile("snapmanage")


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[rabbitmq_service.RabbitMQ]:
    needs.require(*rabbitmq_service.PROGRAMS)
    with running(rabbitmq_service.RabbitMQ) as service:
        yield service


@pytest.fixture(scope="session")
def trixie_rabbitmq() -> Iterator[rabbitmq_service.RabbitMQ]:
    """RabbitMQ 4.0; `trixie.BROKERS` has this fixture only if the environment names a folder of that release."""
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
    """Return the URL of a new, empty database; the test runs once for each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'snapmanage.sqlite'}"
    url: str = request.getfixturevalue(request.param).database()
    return url


@pytest.fixture
def exchange() -> str:
    """Return the name of a control exchange that no other test uses."""
    return unique("exchange")


@pytest.fixture
def tap(rabbitmq: rabbitmq_service.RabbitMQ, exchange: str) -> Iterator[Wiretap]:
    """Listen to the notifications of the exchange."""
    with wiretap(rabbitmq.amqp_url, exchange) as listener:
        yield listener
