"""MariaDB and PostgreSQL with the lines of the page: certificates of both sides are checked."""

from contextlib import closing

import pytest
from sqlalchemy.exc import OperationalError

from snapmanage.store.engine.database import connect
from snapmanage.testing.services.process import LOOPBACK
from tests.services.network.certificates import NAME, Certificates
from tests.services.network.tls_services import PASSWORD, TlsDatabase, tls_url

ENCRYPTED = {
    "tlsmariadb": "SELECT variable_value <> '' FROM information_schema.session_status "
    "WHERE variable_name = 'Ssl_cipher'",
    "tlspostgresql": "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
}


@pytest.fixture(params=["tls_mariadb", "tls_postgresql"])
def server(request: pytest.FixtureRequest) -> TlsDatabase:
    found: TlsDatabase = request.getfixturevalue(request.param)
    return found


def refusal(url: str) -> str:
    with closing(connect(url)) as database, pytest.raises(OperationalError) as refused:
        database.now()
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


def test_connection_with_the_lines_of_the_page_is_encrypted(server: TlsDatabase, certificates: Certificates) -> None:
    with closing(connect(tls_url(server, certificates))) as database, database.read() as conn:
        assert conn.exec_driver_sql(ENCRYPTED[server.name]).scalar_one()


@pytest.mark.parametrize(
    ("host", "client", "authority", "remedy"),
    [
        (LOOPBACK, "client", "authority", "use a name of the server's certificate in [database] connection"),
        (NAME, "client", "other_authority", "in [database] connection"),
        (NAME, "strange_client", "authority", "in [database] connection"),
        (NAME, None, "authority", ""),
    ],
    ids=["wrong name", "wrong CA", "client of another CA", "no certificate of the client"],
)
def test_wrong_certificate_of_either_side_is_refused_with_the_remedy(
    server: TlsDatabase, certificates: Certificates, host: str, client: str | None, authority: str, remedy: str
) -> None:
    url = tls_url(server, certificates, getattr(certificates, client or "client"), host)
    url = url.replace(str(certificates.authority.cert), str(getattr(certificates, authority).cert))
    kept = [part for part in url.split("&") if client or "client" not in part]

    assert remedy in refusal("&".join(kept))


def test_expired_certificate_is_refused_and_a_renewed_one_needs_no_restart(
    server: TlsDatabase, certificates: Certificates
) -> None:
    with closing(connect(tls_url(server, certificates))) as database:
        with certificates.replaced(certificates.right, certificates.expired):
            server.reload()
            with pytest.raises(OperationalError, match="expired"):
                database.now()

        server.reload()

        assert database.now()
