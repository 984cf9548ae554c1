"""Connect to the first of several brokers that answers; with TLS, check each certificate for its own broker's name."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import kombu
from amqp.exceptions import AMQPError
from kombu.exceptions import KombuError

from snapmanage import certificates
from snapmanage.bus.rabbit import transport
from snapmanage.certificates import TlsOptions

BROKEN = (AMQPError, KombuError, OSError)
CONNECT_TIMEOUT_SECONDS = 5
# Time for a broker to answer, for example a declaration of a queue; then the connection is closed.
ANSWER_TIMEOUT_SECONDS = 30
OPTIONS = TlsOptions(
    "[DEFAULT] transport_url",
    "[oslo_messaging_rabbit] ssl_ca_file",
    "[oslo_messaging_rabbit] ssl_cert_file and ssl_key_file",
)

transport.register()


@dataclass(frozen=True)
class Tls:
    """The settings of TLS; each connection reads the files again, so that a renewed certificate needs no restart.

    `protocol` is the number of a protocol in `ssl`; None means the newest version that both sides know.
    """

    ca_file: str
    cert_file: str | None = None
    key_file: str | None = None
    protocol: int | None = None

    def context(self) -> ssl.SSLContext:
        """Return a context for other clients; raise `OSError` if a file can't be read or used."""
        return certificates.client_context(self.ca_file, self.cert_file, self.key_file)

    def for_kombu(self, host: str) -> dict[str, Any]:
        """Return kombu's settings for one host.

        The name must be explicit: without `server_hostname`, py-amqp checks no name. With None, kombu fills in the
        first host and keeps it for all others.
        """
        return {
            "ca_certs": self.ca_file,
            "certfile": self.cert_file,
            "keyfile": self.key_file,
            "ssl_version": self.protocol,
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": host,
        }


@dataclass(frozen=True)
class Broker:
    """A broker: the name in its certificate, and its URL for kombu."""

    host: str
    url: str


class Connector:
    """A function that connects to the first broker that answers; it tries the first one a second time in the end."""

    def __init__(self, brokers: Sequence[Broker], tls: Tls | None = None, login_method: str = "PLAIN") -> None:
        self._brokers = brokers
        self._tls = tls
        self._login_method = login_method

    def __call__(self, heartbeat_seconds: int) -> kombu.Connection:
        problems: dict[str, Exception] = {}
        for broker in (*self._brokers, self._brokers[0]):
            try:
                return self._connect(broker, heartbeat_seconds)
            except BROKEN as error:
                problems[broker.host] = error
        if len(problems) == 1:
            raise next(iter(problems.values()))
        raise ConnectionError("; ".join(f"{host}: {error}" for host, error in problems.items()))

    def _connect(self, broker: Broker, heartbeat_seconds: int) -> kombu.Connection:
        connection = kombu.Connection(
            broker.url,
            heartbeat=heartbeat_seconds,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            login_method=self._login_method,
            ssl=self._tls.for_kombu(broker.host) if self._tls else False,
            transport_options={"read_timeout": ANSWER_TIMEOUT_SECONDS, "write_timeout": ANSWER_TIMEOUT_SECONDS},
        )
        try:
            connection.ensure_connection(max_retries=0)
        except BROKEN as error:
            text = certificates.explain(str(error), OPTIONS) if self._tls else None
            if text is None:
                raise
            raise ConnectionError(text) from error
        return connection
