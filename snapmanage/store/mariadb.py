"""PyMySQL with a quicker escape of texts: its own looks characters up one by one, slowest where JSON has its quotes."""

from typing import Any

from pymysql.constants import SERVER_STATUS


def escape_quickly(connection: Any, record: Any) -> None:
    """Listen to a new connection: the texts of its statements are escaped here from now on."""
    stock = connection.escape

    def escape(value: Any, mapping: Any = None) -> str:
        plain = connection.server_status & SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES
        if not isinstance(value, str) or plain or connection.charset != "utf8mb4":
            return str(stock(value, mapping))
        # In utf8mb4, nothing else can end the text or begin an escape.
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0") + "'"

    connection.escape = escape
