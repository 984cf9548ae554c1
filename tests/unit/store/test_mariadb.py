"""Escaping of texts for MariaDB; tests on a real server show that texts arrive unchanged."""

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
