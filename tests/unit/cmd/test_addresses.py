"""Where brokers and databases are, and how long a silent one is waited for."""

from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from snapmanage import errors
from snapmanage.cmd.wiring import parts
from snapmanage.store.engine import database, postgresql


@pytest.mark.parametrize(("name", "written"), [("::1", "[::1]"), ("127.0.0.1", "127.0.0.1"), ("broker", "broker")])
def test_broker_s_address_is_one_that_kombu_reads(name: str, written: str) -> None:
    host = SimpleNamespace(hostname=name, port=5673, username="me", password="p/w")

    assert parts._address(host, "/") == f"amqp://me:p%2Fw@{written}:5673/%2F"


@pytest.mark.parametrize(
    ("url", "option"),
    [("mysql+pymysql://host/name", "read_timeout"), ("postgresql+psycopg://host/name", "tcp_user_timeout")],
)
def test_database_that_falls_silent_is_not_waited_for_without_end(url: str, option: str) -> None:
    assert arguments(database.connect(url).engine)[option] > 0


def test_url_says_how_long_to_wait_where_it_does() -> None:
    assert arguments(database.connect("mysql+pymysql://host/name?read_timeout=7").engine)["read_timeout"] == 7


@pytest.mark.parametrize("threshold", ["none", "-1", "5&prepare_threshold=6"])
def test_threshold_that_is_no_number_is_refused_with_the_remedy(threshold: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="whole number, or 0"):
        database.connect(f"postgresql+psycopg://host/name?prepare_threshold={threshold}")


def test_postgresql_is_reached_through_psycopg_alone() -> None:
    assert database.connect("postgresql://host/name").engine.dialect.driver == "psycopg"
    with pytest.raises(errors.ConfigurationError, match=r"use postgresql\+psycopg://"):
        database.connect("postgresql+psycopg2://host/name")


def test_url_says_how_long_a_transaction_of_postgresql_may_be_idle_where_it_does() -> None:
    url = sa.make_url("postgresql+psycopg://host/name?options=-c idle_in_transaction_session_timeout=60s")

    assert postgresql._guard(url, 10) == ""
    assert "10s" in postgresql._guard(url.set(query={"options": "-c work_mem=8MB"}), 10)


def arguments(engine: Engine) -> dict[str, int]:
    """What the engine would connect with."""
    given: dict[str, int] = {}

    def connect(*positional: object, **named: int) -> None:
        given.update(named)
        raise ConnectionError

    engine.dialect.connect = connect  # type: ignore[assignment, method-assign]
    with pytest.raises(ConnectionError):
        engine.raw_connection()
    return given
