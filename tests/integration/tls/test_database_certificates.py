"""No password reaches a database whose certificate is wrong; the error names the parameter and the remedy."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from snapmanage.store.engine.database import connect
from snapmanage.store.engine.failures import away
from tests.functional.cmd.programs import configuration, run
from tests.functional.cmd.programs import refusal as refused_in_one_line
from tests.services.network.certificates import NAME, Certificates
from tests.services.network.eavesdropper import (
    Play,
    eavesdropping,
    mariadb,
    mariadb_without_tls,
    postgresql,
    postgresql_without_tls,
)

PASSWORD = "s3cret-of-the-database"


@dataclass(frozen=True)
class Kind:
    """A kind of database: its fakes with and without TLS, a checked URL, and the parameter of the CA."""

    name: str
    play: Play
    play_without_tls: Play
    url: str
    authority: str


KINDS = [
    Kind("mariadb", mariadb, mariadb_without_tls, "mysql+pymysql://u:{}@{}:{}/n?ssl_ca={}", "ssl_ca"),
    Kind(
        "postgresql",
        postgresql,
        postgresql_without_tls,
        "postgresql+psycopg://u:{}@{}:{}/n?sslmode=verify-full&sslrootcert={}",
        "sslrootcert",
    ),
]
# The faults of the certificates, and the remedies.
WRONG = {
    "wrong_name": "use a name of the server's certificate in [database] connection",
    "wrong_authority": "{} in [database] connection",
    "expired": "expired",
}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def url(kind: Kind, certificates: Certificates) -> Callable[[int], str]:
    """Return a function that makes the URL of a port."""
    return lambda port: kind.url.format(PASSWORD, NAME, port, certificates.authority.cert)


def refusal(url: str) -> str:
    """Connect, and return the error; it counts as an outage, so that a later try is made."""
    with closing(connect(url)) as database, pytest.raises(OperationalError) as refused:
        database.now()
    assert away(refused.value)
    assert PASSWORD not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("fault", WRONG)
def test_database_with_a_wrong_certificate_gets_no_password(
    kind: Kind, certificates: Certificates, url: Callable[[int], str], fault: str
) -> None:
    with eavesdropping(kind.play, getattr(certificates, fault)) as server:
        text = refusal(url(server.port))

    assert WRONG[fault].format(kind.authority) in text
    assert server.connections > 0
    assert PASSWORD.encode() not in server.heard


def test_command_reports_a_refused_certificate_in_one_line(
    kind: Kind, certificates: Certificates, url: Callable[[int], str], tmp_path: Path
) -> None:
    with eavesdropping(kind.play, certificates.wrong_name) as server:
        ended = run("snapmanage-manage", "--config-file", configuration(tmp_path, url(server.port)), "db", "sync")

    text = refused_in_one_line(ended)
    assert WRONG["wrong_name"] in text
    assert PASSWORD not in text


def test_database_that_offers_no_tls_gets_no_password(
    kind: Kind, certificates: Certificates, url: Callable[[int], str]
) -> None:
    with eavesdropping(kind.play_without_tls, certificates.right) as server:
        text = refusal(url(server.port))

    assert "enable TLS on the server" in text
    assert server.connections > 0
    assert PASSWORD.encode() not in server.heard


def test_database_with_the_right_certificate_gets_the_password(
    kind: Kind, certificates: Certificates, url: Callable[[int], str]
) -> None:
    with eavesdropping(kind.play, certificates.right) as server:
        refusal(url(server.port))

    assert PASSWORD.encode() in server.heard
