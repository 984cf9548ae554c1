"""The commands of the page about TLS make certificates that the CA vouches for, with the names that the page shows."""

import shlex
import subprocess
from pathlib import Path

from cryptography import x509

from snapmanage.testing.needs import require
from tests.page_blocks import block


def run(folder: Path, line: str) -> None:
    argv = shlex.split(line.removeprefix("$ "))
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, timeout=60)


def test_commands_of_the_page_make_a_ca_and_a_certificate_with_all_names(tmp_path: Path) -> None:
    require("openssl")
    for holding in ("-out ca.pem", "-out server.pem"):
        for line in block("tls.md", "Make a CA", holding).splitlines():
            run(tmp_path, line)

    run(tmp_path, "openssl verify -x509_strict -CAfile ca.pem -verify_hostname rabbit.example server.pem")
    run(tmp_path, "openssl verify -x509_strict -CAfile ca.pem -verify_ip 192.0.2.10 server.pem")
    assert x509.load_pem_x509_certificate((tmp_path / "server.pem").read_bytes()).issuer.rfc4514_string() == (
        "CN=snapmanage CA"
    )
    assert (tmp_path / "ca-key.pem").stat().st_mode & 0o077 == 0
