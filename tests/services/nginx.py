"""An nginx for the tests, with the configuration that the documentation offers, in front of an API."""

import datetime
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from snapmanage.testing.services.process import LOOPBACK, Service, give_away, installed, send

PROGRAMS = ("nginx",)
NAME = "snapmanage.example.com"
EXAMPLE = Path(__file__).parents[2] / "etc" / "nginx" / "snapmanage.conf"
# The rest of a configuration: everything inside a folder of the test.
AROUND = """\
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/snapmanage.conf;
}}
"""


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test; `file` has its certificate."""

    file: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, file: Path) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate("test CA", key, key, "test CA", True)
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(file, key, certificate)

    def issue(self, certificate: Path, key: Path) -> int:
        """Write a new certificate for `NAME` with its key; return its serial number."""
        own = ec.generate_private_key(ec.SECP256R1())
        issued = _certificate(NAME, own, self.key, "test CA", False)
        certificate.write_bytes(issued.public_bytes(serialization.Encoding.PEM))
        form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        key.write_bytes(own.private_bytes(serialization.Encoding.PEM, *form))
        give_away(key)
        return issued.serial_number


class Nginx(Service):
    """nginx on a port of its own, in front of the API at `upstream`."""

    def __init__(self, folder: Path, upstream: str) -> None:
        super().__init__(folder)
        self.upstream = upstream
        self.authority = Authority.create(folder / "ca.pem")

    def prepare(self) -> None:
        self.authority.issue(self.folder / "snapmanage.crt", self.folder / "snapmanage.key")
        text = EXAMPLE.read_text()
        for documented, actual in {
            "listen 443 ssl;": f"listen {LOOPBACK}:{self.port} ssl;",
            "server 127.0.0.1:8776;": f"server {self.upstream};",
            "/etc/nginx/snapmanage.": f"{self.folder}/snapmanage.",
        }.items():
            assert documented in text
            text = text.replace(documented, actual)
        (self.folder / "snapmanage.conf").write_text(text)
        (self.folder / "nginx.conf").write_text(AROUND.format(folder=self.folder))

    def command(self) -> Sequence[str | Path]:
        return [installed("nginx"), "-p", self.folder, "-c", self.folder / "nginx.conf", "-g", "daemon off;"]

    def answers(self) -> bool:
        try:
            return bool(self.serial_number())
        except OSError:
            return False

    def renew_certificate(self) -> int:
        """Write a new certificate, and let nginx reload it; return its serial number."""
        serial = self.authority.issue(self.folder / "snapmanage.crt", self.folder / "snapmanage.key")
        send(signal.SIGHUP, [self.pid])
        return serial

    def connect(self) -> ssl.SSLSocket:
        """Return a connection of a client that trusts the authority, and checks the name."""
        context = ssl.create_default_context(cafile=self.authority.file)
        connection = socket.create_connection((LOOPBACK, self.port), timeout=20)
        return context.wrap_socket(connection, server_hostname=NAME)

    def serial_number(self) -> int:
        """Return the serial number of the certificate that a new client sees."""
        with self.connect() as connection:
            return int(str((connection.getpeercert() or {})["serialNumber"]), 16)


def in_front_of(upstream: str) -> Callable[[Path], Nginx]:
    """Return a function that makes an nginx in front of an API, for `running`."""
    return lambda folder: Nginx(folder, upstream)


def _certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, issuer: str, is_authority: bool
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
