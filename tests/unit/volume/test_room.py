"""A worker has room for a limited number of operations."""

import pytest

from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.claims import Claimed
from snapmanage.manage.rules import Rules
from snapmanage.store.engine.database import connect
from snapmanage.volume.limits import BackendLimits
from snapmanage.volume.worker import Worker
from tests import examples
from tests.examples import SERVER

MANY = 10_000


@pytest.mark.parametrize(
    ("limits", "most"),
    [(BackendLimits(driver_calls=3), 6), (BackendLimits(driver_calls=1000, batch=7), 14)],
    ids=["twice the driver calls", "twice the batch"],
)
def test_room_of_a_worker_ends_at_its_limit(limits: BackendLimits, most: int) -> None:
    app = Application(connect("sqlite://"), OutboxWriter(), Rules())
    worker = Worker(app, SERVER, FakeDriver(), "worker-1", limits)

    assert worker.await_room(MANY) == most
    worker.take_claimed([Claimed(examples.snapshot())] * (most - 1), set())
    assert worker.await_room(MANY) == 1
    worker.take_claimed([Claimed(examples.snapshot())], set())
    assert worker.await_room(MANY) == 0
