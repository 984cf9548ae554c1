"""A PostgreSQL server for the tests, as durable as in production: each commit is on the disk when it returns."""

import signal
from collections.abc import Sequence
from pathlib import Path

import psycopg

from tests.services.process import LOOPBACK, Service, installed, unique

PROGRAMS = ("initdb", "postgres")


class PostgreSQL(Service):
    stop_signal = signal.SIGINT  # fast shutdown; SIGTERM would wait until the clients disconnect

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.files = folder / "data"

    @property
    def url(self) -> str:
        """The URL of the database that every server has."""
        return self._url("postgres")

    def database(self, options: str = "") -> str:
        """Create an empty database, with options of CREATE DATABASE, and return its URL."""
        name = unique("snapmanage")
        self._execute(f"CREATE DATABASE {name} {options}")
        return self._url(name)

    def set(self, url: str, setting: str) -> None:
        """Set a default of a database such as `timezone = 'UTC'`, for later connections."""
        self._execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET {setting}")

    def prepare(self) -> None:
        self.run(
            [
                installed("initdb"),
                f"--pgdata={self.files}",
                "--auth=trust",
                "--username=snapmanage",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ]
        )

    def command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "on",
            "synchronous_commit": "on",
            "max_connections": 200,
        }
        return [installed("postgres"), "-D", self.files, *(f"--{name}={value}" for name, value in settings.items())]

    def answers(self) -> bool:
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: str) -> None:
        url = self.url.replace("+psycopg", "")
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement)

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://snapmanage@{LOOPBACK}:{self.port}/{database}"
