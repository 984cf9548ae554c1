"""The section `[upstream]`: a client is made of it, or an error names the option and the remedy."""

import sys
from pathlib import Path

import pytest
from oslo_config import cfg

from snapmanage import conf as options
from snapmanage import errors
from snapmanage.cmd.wiring import configuration, upstream

PASSWORD = (
    "auth_type = password\nauth_url = https://keystone.example/v3\nusername = u\npassword = SECRET\n"
    "user_domain_name = Default\nproject_name = service\nproject_domain_name = Default\n"
)


def configured(folder: Path, lines: str) -> cfg.ConfigOpts:
    file = folder / "snapmanage.conf"
    file.write_text(f"[upstream]\n{lines}")
    conf = cfg.ConfigOpts()
    options.register(conf)
    conf(["--config-file", str(file)], default_config_files=[], default_config_dirs=[])
    return conf


def test_nothing_is_reported_without_an_endpoint(tmp_path: Path) -> None:
    conf = configured(tmp_path, PASSWORD)

    assert upstream.make_client(conf) is None
    assert not configuration.rules(conf).report_upstream


@pytest.mark.parametrize(
    "credentials",
    [
        PASSWORD,
        "auth_type = none",
        "auth_type = http_basic\nusername = u\npassword = SECRET",
        "auth_type = v3applicationcredential\nauth_url = https://keystone.example/v3\n"
        "application_credential_id = i\napplication_credential_secret = SECRET",
    ],
    ids=["password", "none", "http_basic", "application credential"],
)
def test_client_is_made_of_each_kind_of_credentials_and_sends_nothing(tmp_path: Path, credentials: str) -> None:
    conf = configured(tmp_path, f"endpoint = https://cinder.example:8776/v3/\n{credentials}")

    assert upstream.make_client(conf) is not None
    assert configuration.rules(conf).report_upstream


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ("endpoint = https://cinder.example:8776/v3", "auth_type is missing; set it to password"),
        ("endpoint = https://cinder.example:8776/v3\nauth_type = nonsense", "no usable credentials.*correct auth_type"),
        ("endpoint = https://cinder.example:8776/v3\nauth_type = v3token", "no usable credentials"),
        ("endpoint = https://cinder.example:8776/", "expected http"),
        ("endpoint = https://cinder.example:8776/v3/0123", "without a project"),
        ("endpoint = https://u:SECRET@cinder.example:8776/v3", "without a project, a user or a query"),
        ("endpoint = https://cinder.example:8776/v3?a=b", "without a project, a user or a query"),
        ("endpoint = https:///v3", "expected http"),
        ("endpoint = ftp://cinder.example/v3", "expected http"),
        ("endpoint = https://u:SECRET@[cinder.example/v3", "expected http"),
        ("endpoint = https://cinder.example:port/v3", "expected http"),
        ("endpoint = https://cinder.example/v3\ncafile = /nowhere/ca.pem", r"\[upstream\] cafile: /nowhere/ca.pem"),
        ("endpoint = https://cinder.example/v3\nkeyfile = /nowhere/key", r"\[upstream\] keyfile: /nowhere/key"),
    ],
)
def test_unusable_section_is_refused_with_the_remedy(tmp_path: Path, lines: str, text: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=text) as caught:
        upstream.make_client(configured(tmp_path, lines))

    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "warnings"),
    [("http://cinder.example/v3", 1), ("http://127.0.0.1:8776/v3", 0), ("https://cinder.example/v3", 0)],
)
def test_endpoint_that_shows_tokens_to_the_network_causes_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, endpoint: str, warnings: int
) -> None:
    upstream.make_client(configured(tmp_path, f"endpoint = {endpoint}\nauth_type = none"))

    assert len(caplog.records) == warnings


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keystoneauth1.session", None)

    with pytest.raises(errors.ConfigurationError, match=r"install snapmanage\[upstream\]"):
        upstream.make_client(configured(tmp_path, "endpoint = https://cinder.example/v3\nauth_type = none"))
