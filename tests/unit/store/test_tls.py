"""A database URL that looks encrypted is checked or refused, with the parameter and the remedy."""

import ssl
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from snapmanage import errors
from snapmanage.store.engine import tls
from snapmanage.store.engine.database import connect
from tests.services.network.certificates import Certificates

MARIADB = "mysql+pymysql://snapmanage:s3cret@host/name"
POSTGRESQL = "postgresql+psycopg://snapmanage:s3cret@host/name"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def refusal(url: str) -> str:
    with pytest.raises(errors.ConfigurationError) as refused:
        connect(url)
    assert "s3cret" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize(
    "query",
    [
        "ssl_check_hostname=false&ssl_ca={ca}",
        "ssl_verify_cert=false",
        "ssl_verify_identity=0&ssl_ca={ca}",
        "ssl_disabled=true&ssl_ca={ca}",
        "ssl_disabled=perhaps",
        "ssl_disabled=false",
        "read_default_file=/etc/mysql/my.cnf",
        "read_default_group=snapmanage",
        "ssl=true",
        "ssl_mode=REQUIRED",
        "tls_version=TLSv1.2",
        "ssl_ca=/nowhere/ca.pem",
        "ssl_key={key}&ssl_ca={ca}",
        "ssl_cert={key}&ssl_ca={ca}",
        "ssl_ca={ca}&ssl_ca={ca}",
    ],
)
def test_parameter_of_mariadb_that_would_not_be_checked_is_refused_by_its_name(
    certificates: Certificates, query: str
) -> None:
    parameter = query.partition("=")[0]

    assert parameter in refusal(
        f"{MARIADB}?{query.format(ca=certificates.authority.cert, key=certificates.client.key)}"
    )


@pytest.mark.parametrize("address", [MARIADB, POSTGRESQL])
@pytest.mark.parametrize("query", ["ssl_ca=", "sslmode=", "connect_timeout=5&sslrootcert"])
def test_parameter_without_a_value_is_refused_by_its_name(address: str, query: str) -> None:
    assert "has no value" in refusal(f"{address}?{query}")


@pytest.mark.parametrize(
    "url",
    [
        "mysql+pymysql://user:s3cret@ssl-db.example.org/name",
        "postgresql+psycopg://user:s3cret-tls@host/name",
        "postgresql+psycopg://user:s3cret?tls@host/tls",
        "mysql+pymysql://host/ssl?charset=utf8mb4",
    ],
)
def test_host_login_and_database_of_a_url_are_no_parameters_of_tls(url: str) -> None:
    connect(url).close()


def test_other_drivers_of_mariadb_are_refused_with_tls(certificates: Certificates) -> None:
    url = sa.make_url(f"mysql+mysqldb://host/name?ssl_ca={certificates.authority.cert}")

    with pytest.raises(errors.ConfigurationError, match=r"mysql\+pymysql://"):
        tls.mariadb(url)


@pytest.mark.parametrize(
    "query",
    [
        "ssl_ca={ca}",
        "ssl_verify_cert=true",
        "ssl_verify_identity=true",
        "ssl_check_hostname=1",
        "ssl_cipher=AES256-SHA",
    ],
)
def test_certificate_and_name_of_mariadb_are_checked_with_any_parameter(certificates: Certificates, query: str) -> None:
    url, settings = tls.mariadb(sa.make_url(f"{MARIADB}?{query.format(ca=certificates.authority.cert)}"))

    assert settings is not None
    context = settings.context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert url.query == {}


def test_tls_of_mariadb_is_disabled_if_the_url_says_so() -> None:
    url, settings = tls.mariadb(sa.make_url(f"{MARIADB}?ssl_disabled=true"))

    assert (url.query, settings) == ({"ssl_disabled": "true"}, None)


@pytest.mark.parametrize(
    "query",
    [
        "sslmode=require",
        "sslmode=prefer",
        "sslmode=allow",
        "sslmode=verify-ca&sslrootcert={ca}",
        "sslrootcert={ca}",
        "sslcert={ca}",
        "sslnegotiation=direct",
        "requiressl=1",
        "sslmode=disable&sslrootcert={ca}",
        "sslrootcert=/nowhere/ca.pem&sslmode=verify-full",
        "sslcert=/nowhere/cert.pem&sslmode=verify-full",
        "gssencmode=prefer&sslmode=verify-full&sslrootcert={ca}",
        "service=snapmanage",
        "servicefile=/etc/pg_service.conf",
    ],
)
def test_parameter_of_postgresql_that_would_not_be_checked_is_refused_by_its_name(
    certificates: Certificates, query: str
) -> None:
    parameter = query.partition("=")[0]

    assert parameter in refusal(f"{POSTGRESQL}?{query.format(ca=certificates.authority.cert)}")


@pytest.mark.parametrize("query", ["", "?sslmode=disable", "?sslmode=verify-full&sslrootcert=system"])
def test_url_of_postgresql_that_promises_nothing_or_everything_is_accepted(query: str) -> None:
    connect(POSTGRESQL + query).close()


def test_error_without_a_word_about_tls_stays_as_it_is(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/folder/missing.db")
    tls.explain_failures(engine, tls.MARIADB)

    with pytest.raises(sa.exc.OperationalError) as failed:
        engine.connect()

    original: Any = failed.value.orig
    assert str(original) == "unable to open database file"


@pytest.mark.parametrize("tail", ["host/name?colour=red", "host/name?ssl_disabled=true&colour=red"])
def test_unknown_parameter_is_refused_by_its_name(tail: str) -> None:
    with (
        closing(connect(f"mysql+pymysql://snapmanage:s3cret@{tail}")) as database,
        pytest.raises(errors.ConfigurationError, match="'colour'; remove it"),
    ):
        database.now()


def test_password_that_the_driver_cannot_send_is_refused_without_a_character_of_it() -> None:
    with (
        closing(connect("mysql+pymysql://snapmanage:s3%E2%82%AC@host/name")) as database,
        pytest.raises(errors.ConfigurationError) as refused,
    ):
        database.now()

    assert "\N{EURO SIGN}" not in str(refused.value)
    assert refused.value.__cause__ is None
