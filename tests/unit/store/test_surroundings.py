"""Settings outside of the URL of the database are refused, and a plain connection to another host is described."""

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.store.engine import surroundings

MARIADB = "mysql+pymysql://snapmanage:s3cret@"
POSTGRESQL = "postgresql+psycopg://snapmanage:s3cret@"


@pytest.mark.parametrize(
    "name",
    ["PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLNEGOTIATION", "PGREQUIRESSL", "PGSERVICE", "PGHOSTADDR"],
)
def test_variable_that_changes_a_connection_to_postgresql_is_refused_by_its_name(name: str) -> None:
    url = sa.make_url(f"{POSTGRESQL}host/name?sslmode=verify-full")

    with pytest.raises(errors.ConfigurationError, match=f"variable {name} of the environment.*remove it") as refused:
        surroundings.refuse_variables(url, {name: "value"})

    assert "s3cret" not in str(refused.value)


def test_host_of_the_environment_is_refused_only_if_the_url_has_none() -> None:
    environment = {"PGHOST": "host", "PGUSER": "someone", "PGSSLMODE": ""}
    for tail in ("host/name", "/name?host=/run/postgresql"):
        surroundings.refuse_variables(sa.make_url(POSTGRESQL + tail), environment)

    with pytest.raises(errors.ConfigurationError, match="PGHOST"):
        surroundings.refuse_variables(sa.make_url(f"{POSTGRESQL}/name"), environment)


def test_other_databases_read_no_variable() -> None:
    environment = {"PGSSLMODE": "require", "PGSERVICE": "service"}

    for url in ("sqlite:///file", f"{MARIADB}host/name"):
        surroundings.refuse_variables(sa.make_url(url), environment)


@pytest.mark.parametrize(
    ("url", "hosts", "option"),
    [
        (f"{MARIADB}mariadb.example/name", "mariadb.example", "ssl_ca=FILE"),
        (f"{MARIADB}192.0.2.1:3306/name?charset=utf8mb4", "192.0.2.1", "ssl_ca=FILE"),
        ("mariadb+pymysql://[2001:db8::1]/name", "2001:db8::1", "ssl_ca=FILE"),
        (f"{POSTGRESQL}postgresql.example/name", "postgresql.example", "sslmode=verify-full"),
        (f"{POSTGRESQL}/name?host=localhost,b&host=a", "a, b", "sslmode=verify-full"),
        (f"{POSTGRESQL}localhost/name?hostaddr=192.0.2.1", "192.0.2.1", "sslmode=verify-full"),
    ],
)
def test_plain_connection_to_another_host_is_described_with_the_option_and_the_page(
    url: str, hosts: str, option: str
) -> None:
    text = surroundings.unencrypted(sa.make_url(url)) or ""

    assert f"the database on {hosts} shows" in text
    assert option in text
    assert "docs/how-to/tls.md" in text
    assert "s3cret" not in text


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////var/lib/snapmanage/snapmanage.db",
        f"{MARIADB}localhost/name",
        f"{MARIADB}127.0.0.1:3306/name",
        f"{MARIADB}host/name?unix_socket=/run/mysqld/mysqld.sock",
        f"{MARIADB}host/name?ssl_ca=/ca.pem",
        f"{MARIADB}host/name?ssl_disabled=true",
        f"{POSTGRESQL}/name",
        f"{POSTGRESQL}[::1]/name",
        f"{POSTGRESQL}/name?host=/run/postgresql",
        f"{POSTGRESQL}/name?host=127.0.0.2:5433",
        f"{POSTGRESQL}host/name?sslmode=verify-full",
        f"{POSTGRESQL}host/name?sslmode=disable",
    ],
)
def test_local_and_encrypted_connections_are_silent(url: str) -> None:
    assert surroundings.unencrypted(sa.make_url(url)) is None
