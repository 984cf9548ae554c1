"""Texts and rollbacks for MariaDB; tests on a real server show that texts arrive unchanged."""

from types import SimpleNamespace
from typing import Any

import pytest
from pymysql.constants.SERVER_STATUS import SERVER_STATUS_NO_BACKSLASH_ESCAPES

from snapmanage.store.engine import mariadb


def make_connection(charset: str = "utf8mb4", server_status: int = 0) -> Any:
    made = SimpleNamespace(escape=lambda value, mapping: ("stock", value), charset=charset, server_status=server_status)
    mariadb.escape_quickly(made, None)
    return made


@pytest.mark.parametrize(
    ("text", "written"),
    [("", "''"), ('a"b%s', "'a\"b%s'"), ("it's", r"'it\'s'"), ("\\", r"'\\'"), ("\\'", r"'\\\''"), ("\0", r"'\0'")],
)
def test_quotes_backslashes_and_nul_in_a_text_are_escaped(text: str, written: str) -> None:
    assert make_connection().escape(text) == written


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (b"'", {}),
        (7, {}),
        ("'", {"charset": "gbk"}),
        ("'", {"server_status": SERVER_STATUS_NO_BACKSLASH_ESCAPES}),
    ],
)
def test_other_values_and_modes_are_escaped_by_pymysql(value: Any, where: dict[str, Any]) -> None:
    assert make_connection(**where).escape(value) == str(("stock", value))


def make_session() -> tuple[Any, list[str]]:
    """Return a connection, and the list of what it sends."""
    sent: list[str] = []
    made = SimpleNamespace(
        query=sent.append, commit=lambda: sent.append("COMMIT"), rollback=lambda: sent.append("ROLLBACK")
    )
    mariadb.roll_back_if_needed(made, None)
    return made, sent


def test_connection_that_has_just_committed_is_not_rolled_back() -> None:
    session, sent = make_session()
    session.query("SELECT 1")
    session.commit()

    session.rollback()

    assert sent == ["SELECT 1", "COMMIT"]


def test_connection_is_rolled_back_after_each_other_statement() -> None:
    session, sent = make_session()
    session.rollback()
    session.commit()
    session.query("SELECT 1")
    session.rollback()

    assert sent == ["ROLLBACK", "COMMIT", "SELECT 1", "ROLLBACK"]


def test_connection_whose_commit_fails_is_rolled_back() -> None:
    session, sent = make_session()
    failing = SimpleNamespace(query=session.query, commit=lambda: 1 / 0, rollback=lambda: sent.append("ROLLBACK"))
    mariadb.roll_back_if_needed(failing, None)
    with pytest.raises(ZeroDivisionError):
        failing.commit()

    failing.rollback()

    assert sent == ["ROLLBACK"]
