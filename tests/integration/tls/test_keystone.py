"""Tokens are checked by a Keystone with TLS; a Keystone with a wrong certificate gets neither password nor token."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg

from snapmanage import conf as options
from snapmanage import errors
from snapmanage.cmd.wiring import middleware
from snapmanage.testing.services.process import running
from tests.functional.client import fault as shown_fault
from tests.functional.world import running_world
from tests.page_blocks import adapted, block
from tests.services.keystone import Keystone
from tests.services.network.certificates import NAME, Certificates
from tests.services.network.eavesdropper import eavesdropping, https
from tests.services.network.tls_services import TlsKeystone, client_files, with_certificates

PASSWORD = "s3cret-of-the-service"
WRONG = {
    "wrong_name": "use a name of the server's certificate in [keystone_authtoken] auth_url",
    "wrong_authority": "set [keystone_authtoken] cafile to the file of the CA",
    "expired": "renew the server's certificate",
}


@pytest.fixture(scope="module")
def keystone(certificates: Certificates) -> Iterator[TlsKeystone]:
    with running(with_certificates(TlsKeystone, certificates)) as service:
        yield service


def configured(folder: Path, certificates: Certificates, url: str, more: str = "") -> cfg.ConfigOpts:
    """Return a configuration with the section of the page."""
    file = folder / "snapmanage.conf"
    section = block("tls.md", "Keystone", "[keystone_authtoken]")
    lines = adapted(section, {"https://keystone.example/v3": url} | client_files(certificates))
    file.write_text(f"[api]\nauth_strategy = keystone\n{lines}auth_type = password\ntoken_cache_time = -1\n{more}")
    conf = cfg.ConfigOpts()
    options.register(conf)
    conf(["--config-file", str(file)], default_config_files=[], default_config_dirs=[])
    return conf


def login(keystone: Keystone) -> str:
    """Return the options of a new user that may validate tokens."""
    project_id = keystone.project()
    user_id, password = keystone.user("service", project_id)
    return f"user_id = {user_id}\npassword = {password}\nproject_id = {project_id}\n"


def answer(folder: Path, conf: cfg.ConfigOpts, project: str, token: str) -> int:
    """Return the status of an answer to a request with a token."""
    with running_world(folder, authenticate=middleware.authentication(conf)) as world:
        world.client.project = project
        found = world.client.get("snapshots", headers={"X-Auth-Token": token})
        if found.status_code == 503:
            assert "Keystone can't be reached" in shown_fault(found)[2]
        return found.status_code


def test_token_is_checked_over_tls_with_the_lines_of_the_page(
    tmp_path: Path, keystone: TlsKeystone, certificates: Certificates
) -> None:
    project = keystone.project()
    conf = configured(tmp_path, certificates, keystone.tls_url("right"), login(keystone))

    assert answer(tmp_path, conf, project, keystone.token("reader", project)) == 200
    assert answer(tmp_path, conf, project, "invented") == 401


@pytest.mark.parametrize("fault", WRONG)
def test_keystone_with_a_wrong_certificate_is_refused_with_the_remedy_in_the_log(
    tmp_path: Path,
    keystone: TlsKeystone,
    certificates: Certificates,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    conf = configured(tmp_path, certificates, keystone.tls_url(fault), login(keystone))

    with caplog.at_level(logging.WARNING):
        assert answer(tmp_path, conf, keystone.project(), "token") == 503

    assert WRONG[fault] in caplog.text


@pytest.mark.parametrize("fault", WRONG)
def test_keystone_with_a_wrong_certificate_gets_neither_password_nor_token(
    tmp_path: Path, certificates: Certificates, fault: str
) -> None:
    more = f"username = snapmanage\npassword = {PASSWORD}\nproject_name = service\n"
    more += "user_domain_id = default\nproject_domain_id = default\n"
    with eavesdropping(https, getattr(certificates, fault)) as server:
        conf = configured(tmp_path, certificates, f"https://{NAME}:{server.port}/v3", more)

        assert answer(tmp_path, conf, "a" * 32, "token") == 503

    assert (server.connections > 0, bytes(server.heard)) == (True, b"")


def test_insecure_keystone_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    conf = configured(tmp_path, certificates, "https://keystone.example/v3", "insecure = true\n")

    with pytest.raises(errors.ConfigurationError, match="insecure = true would send"):
        middleware.authentication(conf)


def test_missing_ca_file_is_refused_by_the_name_of_its_option(tmp_path: Path, certificates: Certificates) -> None:
    conf = configured(tmp_path, certificates, "https://keystone.example/v3")
    path = tmp_path / "snapmanage.conf"
    path.write_text(path.read_text().replace(str(certificates.authority.cert), "/nowhere/ca.pem"))
    conf.reload_config_files()

    with pytest.raises(errors.ConfigurationError, match=r"\[keystone_authtoken\] cafile: /nowhere/ca.pem"):
        middleware.authentication(conf)
