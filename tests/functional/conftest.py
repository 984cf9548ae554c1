"""Worlds and databases of the functional tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from snapmanage.api.request import Limits
from snapmanage.core.audit.chain import GENESIS
from snapmanage.core.services import Service
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.rules import Rules
from snapmanage.store import records, services
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database, connect
from snapmanage.store.mapping import tables
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import LOG_ID
from tests.functional.client import Client
from tests.functional.world import World, five_snapshots, running_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Run a world with one fake backend, which has a volume and three snapshots."""
    with running_world(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a world for tests that leave no trace for other tests."""
    with running_world(tmp_path_factory.mktemp("shared"), limits=Limits(body=4096)) as world:
        yield world


@pytest.fixture(scope="module")
def volume_id(shared: World) -> str:
    return shared.register_volume()


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with running_world(tmp_path_factory.mktemp("listed")) as world:
        five_snapshots(world)
        yield world.client


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(examples.NOW)


@pytest.fixture(scope="session")
def synced() -> dict[str, str]:
    """Return the URLs of migrated databases by kind; the migrations take longer than most tests."""
    return {}


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def database(
    request: pytest.FixtureRequest, synced: dict[str, str], tmp_path_factory: pytest.TempPathFactory, clock: FakeClock
) -> Iterator[Database]:
    """Yield an empty, migrated database of each kind, with the test's clock."""
    if request.param not in synced:
        sqlite = f"sqlite:///{tmp_path_factory.mktemp('database') / 'snapmanage.sqlite'}"
        url = sqlite if request.param == "sqlite" else request.getfixturevalue(request.param).database()
        fresh = connect(url)
        schema.sync(fresh.engine)
        fresh.close()
        synced[request.param] = url
    made = Database(connect(synced[request.param]).engine, clock)
    yield made
    empty(made.engine)
    made.close()


@pytest.fixture
def app(database: Database) -> Application:
    """Return an application on each database, with the heartbeat of a server and an available volume."""
    database.write(lambda conn, now: services.beat(conn, Service(examples.SERVER, "fake", now)))
    database.write(lambda conn, _: records.insert(conn, examples.available_volume(size_gb=3)))
    return Application(database, OutboxWriter(), Rules())


def empty(engine: Engine) -> None:
    """Reset a migrated database to the state after its migrations."""
    with engine.begin() as conn:
        for table in tables.metadata.tables.values():
            conn.execute(table.delete())
        conn.execute(tables.audit_head.insert(), {"id": 1, "number": 0, "digest": GENESIS, "log_id": LOG_ID})
