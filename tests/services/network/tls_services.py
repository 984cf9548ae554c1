"""RabbitMQ, MariaDB and PostgreSQL with TLS; their certificate is for the name `localhost` only."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import requests
from sqlalchemy.exc import OperationalError

from snapmanage.store.engine.database import connect
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.process import LOOPBACK, Service, free_port, unique
from tests.page_blocks import adapted, block
from tests.services.keystone import Keystone
from tests.services.managed_rabbitmq import ManagedRabbitMQ
from tests.services.network.certificates import NAME, Certificate, Certificates
from tests.services.pgbouncer import PgBouncer

S = TypeVar("S", bound=Service)

PASSWORD = "s3cret-of-a-user"


def server_files(folder: str, certificates: Certificates) -> dict[str, object]:
    """Return the server's files of the page with those of the tests."""
    return {
        f"{folder}/ca.pem": certificates.authority.cert,
        f"{folder}/server.pem": certificates.right.cert,
        f"{folder}/server-key.pem": certificates.right.key,
    }


def client_files(certificates: Certificates, client: Certificate | None = None) -> dict[str, object]:
    """Return the client's files of the page with those of the tests."""
    shown = client or certificates.client
    return {
        "/etc/snapmanage/ca.pem": certificates.authority.cert,
        "/etc/snapmanage/client.pem": shown.cert,
        "/etc/snapmanage/client-key.pem": shown.key,
    }


def page_line(heading: str, start: str) -> str:
    """Return the rest of the one line of the page that begins with `start`."""
    [line] = [each for each in block("tls.md", heading, start).splitlines() if each.startswith(start)]
    return line.removeprefix(start)


class TlsRabbitMQ(ManagedRabbitMQ):
    """A broker whose port of TLS requires a client's certificate; its other port is for the tests themselves."""

    plugins = "[rabbitmq_management, rabbitmq_auth_mechanism_ssl]."

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        self.tls_port = free_port()
        self.management_port = free_port()
        self.certificates = certificates
        self.more = self._lines_of_the_page()

    def virtual_host(self) -> str:
        """Create a virtual host, and return its name."""
        name = unique("vhost")
        self._put(f"vhosts/{name}", {})
        self.permit(name, "guest", [".*", ".*", ".*"])
        return name

    def add_user(self, name: str, password: str | None) -> None:
        """Create a user; without a password, only a certificate logs it in."""
        login = {"password_hash": ""} if password is None else {"password": password}
        self._put(f"users/{name}", {"tags": "", **login})

    def permit(self, virtual_host: str, user: str, rights: Sequence[str]) -> None:
        """Set the expressions for configure, write and read."""
        self._put(f"permissions/{virtual_host}/{user}", dict(zip(("configure", "write", "read"), rights, strict=True)))

    def permit_topics(self, virtual_host: str, user: str, exchange: str, rights: Sequence[str]) -> None:
        """Set the expressions for the routing keys that a user may publish under, and bind queues to."""
        keys = dict(zip(("write", "read"), rights, strict=True))
        self._put(f"topic-permissions/{virtual_host}/{user}", {"exchange": exchange, **keys})

    def _put(self, path: str, body: Mapping[str, str]) -> None:
        """Call the management API, which answers sooner than rabbitmqctl starts."""
        url = f"https://{NAME}:{self.management_port}/api/{path}"
        authority = str(self.certificates.authority.cert)
        requests.put(url, json=body, auth=("guest", "guest"), verify=authority, timeout=30).raise_for_status()

    def _lines_of_the_page(self) -> str:
        """Return the lines of rabbitmq.conf that the page shows; the port without TLS remains for the tests."""
        files = server_files("/etc/rabbitmq", self.certificates)
        listener = {
            "listeners.tcp = none\n": "",
            "listeners.ssl.default = 5671": f"listeners.ssl.1 = {LOOPBACK}:{self.tls_port}",
        }
        management = {"ssl.port = 15671": f"ssl.ip = {LOOPBACK}\nmanagement.ssl.port = {self.management_port}"}
        return (
            adapted(block("tls.md", "RabbitMQ", "listeners"), files | listener)
            + block("tls.md", "Log in with the certificate", "auth_mechanisms.1")
            + "auth_mechanisms.2 = PLAIN\nauth_mechanisms.3 = AMQPLAIN\n"
            + adapted(block("tls.md", "The management API", "management.ssl"), files | management)
        )


class TlsMariaDB(MariaDB):
    """A server whose user `snapmanage` needs a client's certificate; `root` is for the tests themselves."""

    page_url = page_line("MariaDB", "connection = ")

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        lines = adapted(block("tls.md", "MariaDB", "[mariadbd]"), server_files("/etc/mysql", certificates))
        self.more = [f"--{line.replace(' = ', '=')}" for line in lines.splitlines()[1:]]

    def start(self) -> None:
        super().start()
        self._execute(f"CREATE USER IF NOT EXISTS snapmanage@'%' IDENTIFIED BY '{PASSWORD}'")
        self._execute(block("tls.md", "MariaDB", "ALTER USER").rstrip(";\n"))
        self._execute("GRANT ALL ON *.* TO snapmanage@'%'")

    def reload(self) -> None:
        """Read the certificates again."""
        self._execute("FLUSH SSL")


class TlsPostgreSQL(PostgreSQL):
    """A server whose database `snapmanage` needs a client's certificate; its other databases are for the tests."""

    page_url = page_line("PostgreSQL", "connection = ")

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        self._certificates = certificates

    def prepare(self) -> None:
        super().prepare()
        files = server_files("/etc/postgresql", self._certificates)
        with (self.files / "postgresql.conf").open("a") as configuration:
            configuration.write(adapted(block("tls.md", "PostgreSQL", "ssl = on"), files))
        rules = [
            block("tls.md", "PostgreSQL", "hostssl").strip(),
            "host snapmanage snapmanage all reject",
            "host all all 127.0.0.1/32 trust",
        ]
        (self.files / "pg_hba.conf").write_text("\n".join(rules) + "\n")

    def start(self) -> None:
        super().start()
        self._execute(f"ALTER ROLE snapmanage PASSWORD '{PASSWORD}'")

    def database(self, options: str = "") -> str:
        """Create the database of the page again."""
        self._execute("DROP DATABASE IF EXISTS snapmanage WITH (FORCE)")
        self._execute(f"CREATE DATABASE snapmanage {options}")
        return self._url("snapmanage")

    def reload(self) -> None:
        """Read the certificates again."""
        self._execute("SELECT pg_reload_conf()")


TlsDatabase = TlsMariaDB | TlsPostgreSQL


def tls_url(
    service: TlsDatabase, certificates: Certificates, client: Certificate | None = None, host: str = NAME
) -> str:
    """Return the page's URL for a new database of a service."""
    name = service.database().rpartition("/")[2].partition("?")[0]
    place = {f"DATABASE_PASSWORD@{service.name[3:]}.example/snapmanage": f"{PASSWORD}@{host}:{service.port}/{name}"}
    return adapted(service.page_url, place | client_files(certificates, client))


class TlsPgBouncer(PgBouncer):
    """A PgBouncer in front of a server with TLS, with a certificate of its own on each side."""

    server_host = NAME
    password = PASSWORD

    def __init__(self, folder: Path, server: TlsPostgreSQL, certificates: Certificates) -> None:
        super().__init__(folder, server, "transaction")
        self._server = server
        self._certificates = certificates
        files = server_files("/etc/pgbouncer", certificates) | {
            "/etc/pgbouncer/client.pem": certificates.client.cert,
            "/etc/pgbouncer/client-key.pem": certificates.client.key,
        }
        self.more = adapted(block("tls.md", "PostgreSQL", "client_tls_sslmode"), files).removeprefix("[pgbouncer]\n")

    def answers(self) -> bool:
        with closing(connect(self.url_through(tls_url(self._server, self._certificates)))) as database:
            try:
                return bool(database.now())
            except OperationalError:
                return False


class TlsKeystone(Keystone):
    """A Keystone with a port for each certificate; the one with the right certificate needs a client's certificate."""

    def __init__(self, folder: Path, certificates: Certificates) -> None:
        super().__init__(folder)
        self.certificates = certificates
        self.ports = {fault: free_port() for fault in ("right", "wrong_name", "wrong_authority", "expired")}

    def environment(self) -> Mapping[str, str]:
        shown = {fault: getattr(self.certificates, fault) for fault in self.ports}
        listeners = [
            {
                "port": port,
                "cert": str(shown[fault].cert),
                "key": str(shown[fault].key),
                "ca": str(self.certificates.authority.cert) if fault == "right" else None,
            }
            for fault, port in self.ports.items()
        ]
        return {**super().environment(), "SNAPMANAGE_TLS": json.dumps(listeners)}

    def tls_url(self, fault: str, host: str = NAME) -> str:
        return f"https://{host}:{self.ports[fault]}/v3"


def with_certificates(kind: Callable[[Path, Certificates], S], certificates: Certificates) -> Callable[[Path], S]:
    """Return a function that makes the service, for `running`."""
    return lambda folder: kind(folder, certificates)
