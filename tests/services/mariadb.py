"""A MariaDB server for the tests, as durable as in production: each commit is on the disk when it returns."""

from collections.abc import Sequence
from pathlib import Path

import pymysql

from tests.services.process import LOOPBACK, Service, installed, unique

PROGRAMS = ("mariadb-install-db", "mariadbd")


class MariaDB(Service):
    more: Sequence[str] = ()  # options of the server, which override those below

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files = folder / "data"

    @property
    def url(self) -> str:
        """The URL of the server, without a database."""
        return self._url("")

    def database(self, options: str = "") -> str:
        """Create an empty database, with options of CREATE DATABASE, and return its URL."""
        name = unique("snapmanage")
        self._execute(f"CREATE DATABASE {name} {options}")
        return self._url(name)

    def set(self, setting: str) -> None:
        """Set a default of the server such as `sql_mode = ''`, for later connections."""
        self._execute(f"SET GLOBAL {setting}")

    def prepare(self) -> None:
        self.run(
            [
                installed("mariadb-install-db"),
                "--no-defaults",
                f"--datadir={self.files}",
                "--auth-root-authentication-method=normal",
                "--skip-name-resolve",
                "--skip-test-db",
            ]
        )

    def command(self) -> Sequence[str | Path]:
        return [
            installed("mariadbd"),
            "--no-defaults",
            f"--datadir={self.files}",
            f"--socket={self.folder / 'socket'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--bind-address={LOOPBACK}",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=64M",
            *self.more,
        ]

    def answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except pymysql.err.OperationalError:
            return False
        return True

    def _execute(self, statement: str) -> None:
        with pymysql.connect(
            host=LOOPBACK, port=self.port, user="root", connect_timeout=5, read_timeout=10, ssl_disabled=True
        ) as connection:
            connection.query(statement)

    def _url(self, database: str) -> str:
        """Return a URL without TLS, which MariaDB 11.8 uses by default.

        PyMySQL takes 30 ms to prepare each connection for it. When such a connection is reset, Python 3.13 also
        reports the thread's next read elsewhere as reset (https://github.com/python/cpython/issues/148594).
        """
        return f"mysql+pymysql://root@{LOOPBACK}:{self.port}/{database}?charset=utf8mb4&ssl_disabled=true"
