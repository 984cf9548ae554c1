"""All clients share one way to read files of certificates, and contexts that check certificate and name."""

import ssl
from pathlib import Path

import pytest

from snapmanage import certificates, errors


def test_context_checks_certificate_and_name() -> None:
    made = certificates.client_context(None)

    assert (made.verify_mode, made.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_file_that_cannot_be_read_is_refused_with_its_option_and_path(tmp_path: Path) -> None:
    absent = str(tmp_path / "ca.pem")

    with pytest.raises(errors.ConfigurationError, match=f"^an_option: {absent} can't be read by this user.*correct"):
        certificates.require_readable("an_option", absent)


def test_option_without_a_file_is_accepted() -> None:
    certificates.require_readable("an_option", None)
