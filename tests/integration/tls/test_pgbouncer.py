"""PgBouncer with the lines of the page: TLS to PgBouncer, and from there to PostgreSQL."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from sqlalchemy.exc import OperationalError

from snapmanage.store.engine.database import connect
from snapmanage.testing import needs
from snapmanage.testing.services.process import LOOPBACK, running
from tests.services import pgbouncer as pgbouncer_service
from tests.services.network.certificates import NAME, Certificates
from tests.services.network.tls_services import TlsPgBouncer, TlsPostgreSQL, tls_url


@pytest.fixture
def pgbouncer(tls_postgresql: TlsPostgreSQL, certificates: Certificates) -> Iterator[TlsPgBouncer]:
    needs.require(*pgbouncer_service.PROGRAMS)
    with running(lambda folder: TlsPgBouncer(folder, tls_postgresql, certificates)) as service:
        yield service


def test_both_connections_of_pgbouncer_are_encrypted_and_its_name_is_checked(
    tls_postgresql: TlsPostgreSQL, pgbouncer: TlsPgBouncer, certificates: Certificates
) -> None:
    url = pgbouncer.url_through(tls_url(tls_postgresql, certificates))

    with closing(connect(url)) as database, database.read() as conn:
        assert conn.exec_driver_sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar_one()

    other_name = url.replace(f"@{NAME}:", f"@{LOOPBACK}:")
    with closing(connect(other_name)) as database, pytest.raises(OperationalError, match="use a name of the server's"):
        database.now()
