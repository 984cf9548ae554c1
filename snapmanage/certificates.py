"""TLS of the clients of the broker, the databases and Keystone: files, contexts, and the remedy for a failed handshake.

OpenSSL, libpq, PyMySQL and requests raise different errors, but their texts contain the same phrases.
"""

import re
import ssl
from dataclasses import dataclass

from snapmanage import errors


@dataclass(frozen=True)
class TlsOptions:
    """The names of the options of one kind of connection, for its error messages."""

    address: str
    authority: str
    client_certificate: str


_REMEDIES = (
    (
        r"hostname mismatch|ip address mismatch|doesn't match|does not match host name",
        "use a name of the server's certificate in {address}, or give the server a certificate for this name",
    ),
    (
        r"has expired|not yet valid",
        "renew the server's certificate, and check the clocks of both hosts; {address} names the server",
    ),
    (
        r"alert (unknown ca|bad certificate|certificate|handshake failure)|certificate required"
        r"|requires a valid client certificate|connection requires a client certificate",
        "the server refuses the client's certificate: set {client_certificate} to a valid certificate of a CA that the "
        "server knows",
    ),
    (
        r"unable to get (local )?issuer|self[- ]signed",
        "set {authority} to the file of the CA that issued the server's certificate",
    ),
    (
        r"certificate verify failed|certificate_verify_failed",
        "check that the server's certificate has not expired, and that {authority} is the file of the CA that issued "
        "it",
    ),
    (
        r"eof occurred in violation|connection reset by peer|unexpectedly closed",
        "read the log of the server at {address}; if it requires a client's certificate, set {client_certificate}",
    ),
    (
        r"wrong.version.number|record.layer.failure|packet length too long|does not support ssl|ssl is required but",
        "the server at {address} does not use TLS on this port: enable TLS on the server, or correct the port",
    ),
)


def require_readable(option: str, path: str | None) -> None:
    """Raise `ConfigurationError` if the file of an option can't be read."""
    try:
        if path is not None:
            with open(path, "rb"):
                pass
    except OSError as error:
        raise errors.ConfigurationError(
            f"{option}: {path} can't be read by this user ({error.strerror}); correct the path, or the file's owner"
        ) from error


def client_context(
    ca_file: str | None,
    cert_file: str | None = None,
    key_file: str | None = None,
    key_password: str | None = None,
    ca_folder: str | None = None,
) -> ssl.SSLContext:
    """Return a context that checks certificate and name; without CAs, those of the system are trusted.

    Raise `OSError` if a file can't be read or used.
    """
    made = ssl.create_default_context(cafile=ca_file, capath=ca_folder)
    # Like kombu and PyMySQL. Python 3.13 would refuse certificates of a CA that leaves out optional extensions.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cert_file:
        # Without a password, OpenSSL would ask for one at the terminal.
        made.load_cert_chain(cert_file, key_file, password=key_password or "")
    return made


def explain(cause: str, options: TlsOptions) -> str | None:
    """Return why a connection with TLS failed, and the remedy; None if TLS was not the cause."""
    for phrase, remedy in _REMEDIES:
        if re.search(phrase, cause, re.IGNORECASE):
            return f"{' '.join(cause.split()).rstrip('.')}; {remedy.format(**vars(options))}"
    return None
