"""A row that becomes young after a purge has found it, and before the purge deletes it, stays."""

from collections.abc import Callable
from typing import Any

import pytest

from snapmanage.core.maintenance.purge import Kind
from snapmanage.core.services import Service
from snapmanage.manage.application import Application
from snapmanage.store import purge, services
from snapmanage.testing.clock import FakeClock
from tests.examples import new_id
from tests.functional.manage.maintenance.purge.history import OLD, purged, quarantined_cast


def do_after(monkeypatch: pytest.MonkeyPatch, query: str, act: Callable[[], None]) -> None:
    """Let `act` run once, when the purge has executed a query of `store.purge`."""
    original = getattr(purge, query)

    def replaced(*arguments: Any) -> Any:
        monkeypatch.setattr(purge, query, original)
        found = original(*arguments)
        act()
        return found

    monkeypatch.setattr(purge, query, replaced)


def test_quarantined_message_that_arrives_again_stays(
    app: Application, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = new_id()
    quarantined_cast(app, named)
    clock.advance(days=OLD)
    do_after(monkeypatch, "old_rows", lambda: quarantined_cast(app, named))

    assert purged(app, Kind.QUARANTINE)[Kind.QUARANTINE].deleted == 0


def test_server_that_sends_a_heartbeat_stays(
    app: Application, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beat() -> None:
        app.db.write(lambda conn, now: services.beat(conn, Service("storage-9@gone", "fake", now)))

    beat()
    clock.advance(days=OLD)
    do_after(monkeypatch, "servers_with_records", beat)

    assert purged(app, Kind.SERVICES)[Kind.SERVICES].deleted == 0
