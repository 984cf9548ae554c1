"""A PgBouncer for the tests, in front of a PostgreSQL server; only the pool mode differs from the defaults."""

from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg

from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.process import LOOPBACK, Service, installed

PROGRAMS = ("pgbouncer",)
MODES = ("session", "transaction")

CONFIGURATION = """\
[databases]
* = host={server_host} port={server_port}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
"""


class PgBouncer(Service):
    more = ""  # additional lines of the configuration
    server_host = LOOPBACK
    password = ""

    def __init__(self, folder: Path, server: PostgreSQL, mode: str) -> None:
        super().__init__(folder)
        self.server = server
        self.mode = mode

    @property
    def url(self) -> str:
        return self.url_through(self.server.url)

    def database(self) -> str:
        """Create an empty database, and return its URL through this PgBouncer."""
        return self.url_through(self.server.database())

    def url_through(self, url: str) -> str:
        """Return the URL of a database of the server, through this PgBouncer."""
        return url.replace(f":{self.server.port}/", f":{self.port}/")

    def prepare(self) -> None:
        users = self.folder / "users.txt"
        users.write_text(f'"snapmanage" "{self.password}"\n')
        settings = {
            "host": LOOPBACK,
            "server_host": self.server_host,
            "server_port": self.server.port,
            "port": self.port,
            "mode": self.mode,
        }
        self._configuration.write_text(CONFIGURATION.format(users=users, **settings) + self.more)

    def command(self) -> Sequence[str | Path]:
        return [installed("pgbouncer"), self._configuration]

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=5) as connection:
                connection.execute("SELECT 1", prepare=False)
        except psycopg.OperationalError:
            return False
        return True

    @property
    def _configuration(self) -> Path:
        return self.folder / "pgbouncer.ini"


def in_front_of(server: PostgreSQL, mode: str) -> Callable[[Path], PgBouncer]:
    """Return a function that makes a PgBouncer in front of `server`, for `running`."""
    return lambda folder: PgBouncer(folder, server, mode)
