"""Addresses of brokers and databases, and the time-outs of their connections."""

from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from snapmanage import errors
from snapmanage.cmd.wiring import broker_connection
from snapmanage.store.engine import database, postgresql


@pytest.mark.parametrize(("name", "written"), [("::1", "[::1]"), ("127.0.0.1", "127.0.0.1"), ("broker", "broker")])
def test_address_of_a_broker_has_the_form_that_kombu_parses(name: str, written: str) -> None:
    host = SimpleNamespace(hostname=name, port=5673, username="me", password="p/w")

    assert broker_connection.broker_address(host, "/") == f"amqp://me:p%2Fw@{written}:5673/%2F"


@pytest.mark.parametrize(
    ("url", "option"),
    [("mysql+pymysql://host/name", "read_timeout"), ("postgresql+psycopg://host/name", "tcp_user_timeout")],
)
def test_connection_to_a_database_has_a_read_time_out(url: str, option: str) -> None:
    assert connect_arguments(database.connect(url).engine)[option] > 0


def test_time_out_in_the_url_overrides_the_default() -> None:
    assert connect_arguments(database.connect("mysql+pymysql://host/name?read_timeout=7").engine)["read_timeout"] == 7


@pytest.mark.parametrize("threshold", ["none", "-1", "5&prepare_threshold=6"])
def test_malformed_prepare_threshold_is_refused_with_the_remedy(threshold: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="whole number, or 0"):
        database.connect(f"postgresql+psycopg://host/name?prepare_threshold={threshold}")


def test_psycopg_is_the_only_driver_for_postgresql() -> None:
    assert database.connect("postgresql://host/name").engine.dialect.driver == "psycopg"
    with pytest.raises(errors.ConfigurationError, match=r"use postgresql\+psycopg://"):
        database.connect("postgresql+psycopg2://host/name")


def test_idle_time_out_of_postgresql_in_the_url_overrides_the_default() -> None:
    url = sa.make_url("postgresql+psycopg://host/name?options=-c idle_in_transaction_session_timeout=60s")

    assert postgresql.guard(url, 10) == ""
    assert "10s" in postgresql.guard(url.set(query={"options": "-c work_mem=8MB"}), 10)


def connect_arguments(engine: Engine) -> dict[str, int]:
    """Return the named arguments with which the engine connects."""
    given: dict[str, int] = {}

    def connect(*positional: object, **named: int) -> None:
        given.update(named)
        raise ConnectionError

    engine.dialect.connect = connect  # type: ignore[assignment, method-assign]
    with pytest.raises(ConnectionError):
        engine.raw_connection()
    return given
