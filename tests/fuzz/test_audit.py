"""Events that the audit listener receives."""

import json
from functools import cache

from snapmanage.audit import verification
from snapmanage.audit.listener import Listener
from snapmanage.bus import Delivery
from snapmanage.core import events
from snapmanage.core.events import Step
from snapmanage.store.engine.database import Database, connect
from tests import examples
from tests.functional.databases import sqlite
from tests.fuzz.hostile import bounded, damaged, fuzz, reshaped, scratch
from tests.fuzz.test_envelope import enclosed

EVENT = events.announce(examples.snapshot(generation=1), Step.START, examples.NOW)
CONTENT = {"event_type": EVENT.event_type, "payload": EVENT.payload, "priority": "INFO", "publisher_id": "p"}


@cache
def db() -> Database:
    return connect(sqlite(scratch("audit")))


@fuzz(reshaped(CONTENT))
def test_event_is_recorded_quarantined_or_ignored(content: object) -> None:
    with bounded(content):
        Listener(db())([Delivery("notifications.info", enclosed(content))])
        list(verification.trail(db(), 1))


@fuzz(damaged(enclosed(CONTENT), json.dumps(CONTENT).encode()))
def test_bytes_are_recorded_quarantined_or_ignored(body: bytes) -> None:
    with bounded(body):
        Listener(db())([Delivery("notifications.info", body)])
