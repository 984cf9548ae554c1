"""Certificates for the tests: a CA, another CA, and certificates of servers and clients.

The fault of each server certificate is its name here: `right` is for the host `localhost` only, so that a client that
connects to `127.0.0.1` finds a certificate with a wrong name.
"""

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from snapmanage.testing.services.process import give_away

NAME = "localhost"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A CA, with its certificate in a file."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._issuer = _subject(name)
        made = self._builder(self._issuer, self._key, DAY)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.cert = _write(folder / f"{name}.pem", made.sign(self._key, hashes.SHA256()).public_bytes(PEM))

    def issue(self, file: str, name: str, valid: timedelta = DAY) -> Certificate:
        """Issue a certificate for a host or a user; with a negative `valid` it has expired that long ago."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_alternative(name)])
        made = self._builder(_subject(name), key, valid).add_extension(names, critical=False)
        text = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Certificate(
            _write(self._folder / f"{file}.pem", made.sign(self._key, hashes.SHA256()).public_bytes(PEM)),
            _write(self._folder / f"{file}-key.pem", text),
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, valid: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + valid)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(identifier, critical=False)
        )


class Certificates:
    """All certificates of one test file, in a folder that the services can read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder, "ca")
        self.other_authority = Authority(folder, "other-ca")
        self.right = self.authority.issue("right", NAME)
        self.expired = self.authority.issue("expired", NAME, -DAY)
        self.wrong_name = self.authority.issue("wrong-name", "elsewhere.example")
        self.wrong_authority = self.other_authority.issue("wrong-authority", NAME)
        self.client = self.authority.issue("client", "snapmanage")
        self.strange_client = self.other_authority.issue("strange-client", "snapmanage")

    @contextmanager
    def replaced(self, old: Certificate, new: Certificate) -> Iterator[None]:
        """Put another certificate and its key into the files of one, as long as the context lasts."""
        kept = [(path, path.read_bytes()) for path in (old.cert, old.key)]
        for path, source in ((old.cert, new.cert), (old.key, new.key)):
            path.write_bytes(source.read_bytes())
        try:
            yield
        finally:
            for path, content in kept:
                path.write_bytes(content)


PEM = serialization.Encoding.PEM


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(path: Path, content: bytes) -> Path:
    """Write a file that only its owner can read, as libpq and the servers require of a key."""
    path.write_bytes(content)
    path.chmod(0o600)
    give_away(path)
    return path
