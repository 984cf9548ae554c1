"""The remedy for a failed TLS handshake, from the text in which a library reports it.

OpenSSL, libpq, PyMySQL and requests raise different errors, but their texts contain the same phrases.
"""

import re
from dataclasses import dataclass


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


def explain(cause: str, options: TlsOptions) -> str | None:
    """Return why a connection with TLS failed, and the remedy; None if TLS was not the cause."""
    for phrase, remedy in _REMEDIES:
        if re.search(phrase, cause, re.IGNORECASE):
            return f"{' '.join(cause.split()).rstrip('.')}; {remedy.format(**vars(options))}"
    return None
