"""No password reaches a broker, or its management API, whose certificate is wrong; the error names the remedy."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from oslo_config import cfg

from snapmanage import errors
from snapmanage.bus import Publication
from snapmanage.cmd.wiring import management, parts
from snapmanage.testing.services.process import free_port
from snapmanage.testing.waiting import until
from tests.integration.tls import unprobed_call
from tests.integration.tls.conftest import Configure
from tests.services.network.certificates import NAME, Certificates
from tests.services.network.eavesdropper import amqp, eavesdropping, https

PASSWORD = "s3cret-of-the-broker"
# The faults of the certificates, and the remedies.
WRONG = {
    "wrong_name": "use a name of the server's certificate in {}",
    "wrong_authority": "set [oslo_messaging_rabbit] ssl_ca_file to the file of the CA",
    "expired": "renew the server's certificate",
}


def text(certificates: Certificates, url: str, more: str = "") -> str:
    return (
        f"[DEFAULT]\ntransport_url = {url}\n{more}\n"
        f"[api]\ncall_timeout_seconds = 2\n"
        f"[oslo_messaging_rabbit]\nssl = true\nssl_ca_file = {certificates.authority.cert}\n"
    )


def with_management(certificates: Certificates, port: int) -> str:
    url = f"https://monitor:{PASSWORD}@{NAME}:{port}"
    return text(certificates, "rabbit://", f"broker_management_url = {url}")


def publish(conf: cfg.ConfigOpts) -> str:
    """Publish a message, and return the error."""
    bus, _ = parts.connect_bus(conf)
    with closing(bus), pytest.raises(errors.Unavailable) as refused:
        bus.send([Publication("id", "key", b"body")])
    return str(refused.value)


def call(conf: cfg.ConfigOpts) -> str:
    """Call a server, and return the error."""
    bus, _ = parts.connect_bus(conf)
    with closing(bus), pytest.raises(errors.Unavailable) as refused:
        bus.call("server", "method", {}, {})
    return str(refused.value)


def describe(conf: cfg.ConfigOpts) -> str:
    """Query the management API, and return the error."""
    with pytest.raises(errors.Unavailable) as refused:
        management.describe(conf, "queue")
    return str(refused.value)


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS:DeprecationWarning")
@pytest.mark.parametrize("version", ["", "TLSv1_2", "SSLv23"])
@pytest.mark.parametrize("fault", WRONG)
def test_broker_with_a_wrong_certificate_gets_no_password(
    certificates: Certificates, configured: Configure, fault: str, version: str
) -> None:
    with eavesdropping(amqp, getattr(certificates, fault)) as server:
        given = text(certificates, f"rabbit://snapmanage:{PASSWORD}@{NAME}:{server.port}/")

        refusal = publish(configured(f"{given}ssl_version = {version}\n"))

    assert WRONG[fault].format("[DEFAULT] transport_url") in refusal
    assert PASSWORD not in refusal
    assert (server.connections > 0, bytes(server.heard)) == (True, b"")


@pytest.mark.parametrize("fault", WRONG)
def test_rpc_call_to_a_broker_with_a_wrong_certificate_sends_no_password(
    certificates: Certificates, configured: Configure, fault: str
) -> None:
    with eavesdropping(amqp, getattr(certificates, fault)) as server:
        call(configured(text(certificates, f"rabbit://snapmanage:{PASSWORD}@{NAME}:{server.port}/")))

    assert (server.connections > 0, bytes(server.heard)) == (True, b"")


@pytest.mark.parametrize(("fault", "heard"), [*((fault, False) for fault in WRONG), ("right", True)])
def test_oslo_messaging_itself_sends_no_password_to_a_broker_with_a_wrong_certificate(
    certificates: Certificates, tmp_path: Path, fault: str, heard: bool
) -> None:
    file = tmp_path / "snapmanage.conf"
    with eavesdropping(amqp, getattr(certificates, fault)) as server:
        file.write_text(text(certificates, f"rabbit://snapmanage:{PASSWORD}@{NAME}:{server.port}/"))
        caller = subprocess.Popen([sys.executable, "-m", unprobed_call.__name__, file], stderr=subprocess.DEVNULL)
        try:
            until(lambda: server.ended, "the end of the connection", 60)
        finally:
            caller.kill()
            caller.wait()

    assert (PASSWORD.encode() in server.heard) == heard


@pytest.mark.parametrize("send", [publish, call])
def test_name_of_each_broker_of_the_url_is_checked(
    certificates: Certificates, configured: Configure, send: Callable[[cfg.ConfigOpts], str]
) -> None:
    login = f"snapmanage:{PASSWORD}"
    with eavesdropping(amqp, certificates.right) as server:  # for the name of the first broker only
        url = f"rabbit://{login}@{NAME}:{free_port()},{login}@127.0.0.1:{server.port}/"

        send(configured(text(certificates, url)))

    assert (server.connections > 0, bytes(server.heard)) == (True, b"")


@pytest.mark.parametrize("send", [publish, call])
def test_without_a_ca_file_the_cas_of_the_system_are_trusted_and_the_name_is_checked(
    certificates: Certificates,
    configured: Configure,
    monkeypatch: pytest.MonkeyPatch,
    send: Callable[[cfg.ConfigOpts], str],
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority.cert))
    with eavesdropping(amqp, certificates.wrong_name) as wrong, eavesdropping(amqp, certificates.right) as right:
        for server in (wrong, right):
            given = text(certificates, f"rabbit://snapmanage:{PASSWORD}@{NAME}:{server.port}/")
            send(configured(given.partition("ssl_ca_file")[0]))

    assert bytes(wrong.heard) == b""
    assert PASSWORD.encode() in right.heard


@pytest.mark.filterwarnings("ignore:ssl.PROTOCOL_TLS:DeprecationWarning")
@pytest.mark.parametrize("version", ["", "TLSv1_2", "SSLv23"])
@pytest.mark.parametrize("send", [publish, call])
def test_broker_with_the_right_certificate_gets_the_password(
    certificates: Certificates, configured: Configure, send: Callable[[cfg.ConfigOpts], str], version: str
) -> None:
    with eavesdropping(amqp, certificates.right) as server:
        given = text(certificates, f"rabbit://snapmanage:{PASSWORD}@{NAME}:{server.port}/")
        send(configured(f"{given}ssl_version = {version}\n"))

    assert PASSWORD.encode() in server.heard


@pytest.mark.parametrize("fault", WRONG)
def test_management_api_with_a_wrong_certificate_gets_no_password(
    certificates: Certificates, configured: Configure, fault: str
) -> None:
    with eavesdropping(https, getattr(certificates, fault)) as server:
        refusal = describe(configured(with_management(certificates, server.port)))

    assert WRONG[fault].format("[DEFAULT] broker_management_url") in refusal
    assert (server.connections > 0, bytes(server.heard)) == (True, b"")


def test_management_api_with_the_right_certificate_gets_the_password(
    certificates: Certificates, configured: Configure
) -> None:
    with eavesdropping(https, certificates.right) as server:
        assert "401" in describe(configured(with_management(certificates, server.port)))

    assert b"Authorization: Basic" in server.heard
