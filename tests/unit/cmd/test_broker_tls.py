"""Each option about TLS to the broker is honoured, or refused with an error that names it."""

import ssl
from pathlib import Path

import pytest
from oslo_config import cfg

from snapmanage import conf as options
from snapmanage import errors
from snapmanage.cmd.wiring import broker_connection, configuration, parts
from snapmanage.testing.services.process import unique
from tests.services.network.certificates import Certificate, Certificates

URL = "rabbit://snapmanage:s3cret@broker.example/"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def configured(folder: Path, lines: str, url: str = URL) -> cfg.ConfigOpts:
    file = folder / "snapmanage.conf"
    file.write_text(f"[DEFAULT]\ntransport_url = {url}\n[oslo_messaging_rabbit]\n{lines}\n")
    conf = cfg.ConfigOpts()
    options.register(conf)
    configuration.register_messaging(conf)
    conf([], default_config_files=[str(file)])
    return conf


def refusal(folder: Path, lines: str, url: str = URL) -> str:
    with pytest.raises(errors.ConfigurationError) as refused:
        parts.connect_bus(configured(folder, lines, url))
    assert "s3cret" not in str(refused.value)
    return str(refused.value)


def with_client(certificates: Certificates, client: Certificate) -> str:
    return (
        f"ssl = true\nssl_ca_file = {certificates.authority.cert}\n"
        f"ssl_cert_file = {client.cert}\nssl_key_file = {client.key}\n"
    )


@pytest.mark.parametrize("option", ["ssl_ca_file", "ssl_cert_file", "ssl_key_file", "ssl_version"])
def test_option_about_tls_without_tls_is_refused(tmp_path: Path, option: str) -> None:
    assert f"[oslo_messaging_rabbit] {option} is set, but connections are not encrypted" in refusal(
        tmp_path, f"{option} = value"
    )


@pytest.mark.parametrize(
    "lines",
    [
        "ssl = true\nssl_version = TLSv1",
        "ssl = true\nssl_version = SSLv3",
        "ssl = true\nssl_enforce_fips_mode = true",
        "ssl = true\nssl_enforce_hostname_verification = false",
        "rabbit_login_method = RABBIT-CR-DEMO",
        "rabbit_login_method = EXTERNAL",
        "ssl = true\nssl_key_file = /etc/hostname",
        "ssl = true\nssl_ca_file = /nowhere/ca.pem",
        "ssl = true\nssl_ca_file = /etc/hostname",
        "rabbit_use_ssl = true",
        "kombu_ssl_version = TLSv1_2",
        "kombu_ssl_keyfile = key.pem",
        "kombu_ssl_certfile = cert.pem",
        "kombu_ssl_ca_certs = ca.pem",
        "ssl_ca_certs = ca.pem",
        "use_tls = true",
    ],
)
def test_option_that_cannot_be_honoured_is_refused_by_its_name(tmp_path: Path, lines: str) -> None:
    option = lines.splitlines()[-1].partition(" ")[0]

    assert option in refusal(tmp_path, lines)


def test_old_name_in_the_section_default_or_the_environment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "[DEFAULT] rabbit_use_ssl is not an option" in refusal(tmp_path, "", f"{URL}\nrabbit_use_ssl = true")

    monkeypatch.setenv("OS_OSLO_MESSAGING_RABBIT__RABBIT_USE_SSL", "true")

    assert "rabbit_use_ssl is not an option" in refusal(tmp_path, "")


def test_options_in_the_query_of_the_url_are_refused(tmp_path: Path) -> None:
    assert "transport_url has options after its question mark (ssl)" in refusal(tmp_path, "", f"{URL}?ssl=true")


def test_key_of_another_certificate_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    mixed = Certificate(certificates.client.cert, certificates.right.key)

    assert "the key must belong to the certificate" in refusal(tmp_path, with_client(certificates, mixed))


def test_files_and_version_reach_the_connection(tmp_path: Path, certificates: Certificates) -> None:
    lines = with_client(certificates, certificates.client) + "ssl_version = TLSv1_2"

    tls = broker_connection.broker_tls(configured(tmp_path, lines))

    assert tls is not None
    assert tls.for_kombu("broker.example") == {
        "ca_certs": str(certificates.authority.cert),
        "certfile": str(certificates.client.cert),
        "keyfile": str(certificates.client.key),
        "ssl_version": ssl.PROTOCOL_TLSv1_2,
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": "broker.example",
    }


def test_brokers_of_several_urls_are_called_one_by_one_with_the_port_of_tls(
    tmp_path: Path, certificates: Certificates
) -> None:
    url = "rabbit://a:s3cret@one,b:s3cret@two:5673/vhost"
    lines = f"ssl = true\nssl_ca_file = {certificates.authority.cert}"

    brokers = broker_connection.rpc_brokers(configured(tmp_path, lines, url))

    hosts = [[(host.hostname, host.port, host.username) for host in each.url.hosts] for each in brokers]
    assert hosts == [[("one", 5671, "a")], [("two", 5673, "b")]]
    assert {each.url.virtual_host for each in brokers} == {"vhost"}


def test_without_a_ca_file_oslo_messaging_gets_the_file_of_the_system(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority.cert))
    conf = configured(tmp_path, "ssl = true")

    broker_connection.rpc_brokers(conf)

    assert conf.oslo_messaging_rabbit.ssl_ca_file == str(certificates.authority.cert)


@pytest.mark.parametrize(
    ("lines", "url", "warned"),
    [
        ("", "rabbit://snapmanage:s3cret@{host}/", "{host}"),
        (
            "",
            "rabbit://snapmanage:s3cret@127.0.0.1,snapmanage:s3cret@{host},snapmanage:s3cret@2.{host}/",
            "{host}, 2.{host}",
        ),
        ("ssl = false", "rabbit://snapmanage:s3cret@{host}/", ""),
        ("ssl = true", "rabbit://snapmanage:s3cret@{host}/", ""),
        ("", "rabbit://snapmanage:s3cret@[::1]:5672,snapmanage:s3cret@localhost/{host}", ""),
        ("", "rabbit://snapmanage:s3cret@/{host}", ""),
        ("", "rabbit://snapmanage:s3cret@:5672/{host}", ""),
    ],
    ids=["alone", "one of several", "confirmed", "TLS", "local", "no host", "port alone"],
)
def test_plain_connection_to_another_host_is_logged_once(
    tmp_path: Path, lines: str, url: str, warned: str, caplog: pytest.LogCaptureFixture
) -> None:
    host = f"{unique('host').replace('_', '-')}.example"
    conf = configured(tmp_path, lines, url.format(host=host))

    for _ in range(2):
        broker_connection.connector(conf)

    texts = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert [warned.format(host=host) in text and "docs/how-to/tls.md" in text for text in texts] == [True] * bool(
        warned
    )
    assert "s3cret" not in caplog.text
