"""A bench for the use cases."""

from dataclasses import replace

import pytest

from snapmanage.core.services import Service
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.store import records, services
from snapmanage.store.engine.database import Database
from snapmanage.testing.clock import FakeClock
from tests import examples
from tests.examples import SERVER
from tests.functional.manage.operations.bench import DISK, RULES, Bench


@pytest.fixture
def bench(database: Database, clock: FakeClock) -> Bench:
    """Return a bench with a server that sends heartbeats, and an available volume."""
    made = Bench(database, clock, Application(database, OutboxWriter(), RULES))
    made.app = replace(made.app, outbox_writer=OutboxWriter(made.nudged.extend))
    database.write(lambda conn, now: services.beat(conn, Service(SERVER, "fake", now)))
    database.write(lambda conn, _: records.insert(conn, examples.available_volume(DISK)))
    return made
