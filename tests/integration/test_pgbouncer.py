"""PostgreSQL behind PgBouncer, which has its default settings."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import needs
from tests.integration.load import SNAPSHOTS, a_world_on, statuses_after_load
from tests.services import pgbouncer as pgbouncer_service
from tests.services.pgbouncer import PgBouncer
from tests.services.postgresql import PostgreSQL
from tests.services.process import running


@pytest.fixture(scope="module", params=pgbouncer_service.MODES)
def pgbouncer(request: pytest.FixtureRequest, postgresql: PostgreSQL) -> Iterator[PgBouncer]:
    needs.require(*pgbouncer_service.PROGRAMS)
    with running(pgbouncer_service.before(postgresql, request.param)) as service:
        yield service


@pytest.mark.parametrize("query", ["", "?prepare_threshold=0"])
def test_eight_clients_are_served_through_pgbouncer(
    tmp_path: Path, pgbouncer: PgBouncer, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), a_world_on(tmp_path, pgbouncer.database() + query) as world:
        assert statuses_after_load(world) == ["available"] * SNAPSHOTS
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
