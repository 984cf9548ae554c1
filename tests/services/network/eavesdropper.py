"""A server with a certificate that records each byte that a client sends inside TLS, and asks for its password.

It plays just enough of AMQP, MariaDB's or PostgreSQL's protocol or HTTP that a client which trusts it sends a password.
"""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from snapmanage.testing.services.process import LOOPBACK
from tests.services.network.certificates import Certificate

Play = Callable[["Conversation"], None]
SECONDS = 5
# The length of the packet with which a client of MariaDB requests TLS.
TLS_REQUEST_BYTES = 36


class Conversation:
    """One connection; `secure` begins TLS."""

    def __init__(self, connection: socket.socket, certificate: Certificate, heard: bytearray) -> None:
        self._connection = connection
        self._certificate = certificate
        self._heard = heard

    def secure(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate.cert, self._certificate.key)
        self._connection = context.wrap_socket(self._connection, server_side=True)

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def receive(self, limit: int = 65536) -> bytes:
        data = self._connection.recv(limit)
        self._heard += data
        return data

    def close(self) -> None:
        self._connection.close()


class Eavesdropper:
    """A listening server; `heard` has all bytes that clients sent, except those of TLS itself."""

    def __init__(self, play: Play, certificate: Certificate) -> None:
        self._play = play
        self._certificate = certificate
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = bytearray()
        self.connections = 0
        self.ended = 0  # the number of connections that were closed
        threading.Thread(target=self._accept, name="eavesdropper", daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(SECONDS)
                self.connections += 1
                threading.Thread(target=self._serve, args=[connection], name="eavesdropper", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        conversation = Conversation(connection, self._certificate, self.heard)
        with suppress(OSError):
            self._play(conversation)
        conversation.close()
        self.ended += 1


def amqp(conversation: Conversation) -> None:
    """Offer each mechanism that sends a password."""
    conversation.secure()
    conversation.receive()
    mechanisms, locales = b"PLAIN AMQPLAIN", b"en_US"
    start = struct.pack(">HHBBL", 10, 10, 0, 9, 0)
    start += struct.pack(">L", len(mechanisms)) + mechanisms + struct.pack(">L", len(locales)) + locales
    conversation.send(struct.pack(">BHL", 1, 0, len(start)) + start + b"\xce")
    conversation.receive()


def https(conversation: Conversation) -> None:
    conversation.secure()
    conversation.receive()
    conversation.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def mariadb(conversation: Conversation, with_tls: bool = True) -> None:
    """Greet, begin TLS if the server has it, and switch to the method that sends the password itself."""
    capabilities = 0x00AFFFFF if with_tls else 0x00AFF7FF
    greeting = b"\x0a" + b"10.11.6-MariaDB\0" + struct.pack("<L", 1) + b"A" * 8 + b"\0"
    greeting += struct.pack("<HBHH", capabilities & 0xFFFF, 45, 2, capabilities >> 16) + bytes([21]) + b"\0" * 10
    greeting += b"B" * 12 + b"\0" + b"mysql_native_password\0"
    conversation.send(_packet(0, greeting))
    if with_tls:
        conversation.receive(TLS_REQUEST_BYTES)  # no more: the client's first message of TLS follows at once
        conversation.secure()
    conversation.receive()
    conversation.send(_packet(3 if with_tls else 2, b"\xfemysql_clear_password\0"))
    conversation.receive()


def mariadb_without_tls(conversation: Conversation) -> None:
    mariadb(conversation, with_tls=False)


def postgresql(conversation: Conversation, with_tls: bool = True) -> None:
    """Accept TLS, and require the password itself."""
    conversation.receive()
    conversation.send(b"S" if with_tls else b"N")
    if with_tls:
        conversation.secure()
    conversation.receive()
    conversation.send(b"R" + struct.pack(">LL", 8, 3))
    conversation.receive()


def postgresql_without_tls(conversation: Conversation) -> None:
    postgresql(conversation, with_tls=False)


def _packet(number: int, payload: bytes) -> bytes:
    return struct.pack("<L", len(payload))[:3] + bytes([number]) + payload


@contextmanager
def eavesdropping(play: Play, certificate: Certificate) -> Iterator[Eavesdropper]:
    server = Eavesdropper(play, certificate)
    try:
        yield server
    finally:
        server.close()
