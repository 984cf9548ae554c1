"""A missing or invalid configuration is reported in one line, without passwords."""

from pathlib import Path

import pytest

from tests.functional.cmd.programs import configuration, refusal, run


def test_error_about_an_empty_database_names_the_command_to_run(tmp_path: Path) -> None:
    config = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")

    ended = run("snapmanage-manage", "--config-file", config, "audit", "verify")

    assert "run `snapmanage-manage db sync`" in refusal(ended)


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite:////nowhere/at/all.db", "mysql+pymysql://a:b@127.0.0.1:1/c", "mysql+nodriver://a/b"]
)
def test_unusable_database_is_reported_in_one_line(tmp_path: Path, url: str) -> None:
    ended = run("snapmanage-manage", "--config-file", configuration(tmp_path, url), "service", "list")

    assert "database" in refusal(ended)


@pytest.mark.parametrize("command", ["snapmanage-manage", "snapmanage-volume", "snapmanage-api", "snapmanage-audit"])
def test_missing_or_malformed_configuration_is_reported_in_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "garbled.conf").write_text("garbage\n")
    (tmp_path / "folder.conf").mkdir()
    rest = ["db", "sync"] if command == "snapmanage-manage" else []

    for name in ("missing.conf", "garbled.conf", "folder.conf"):
        assert name in refusal(run(command, "--config-file", tmp_path / name, *rest))


def test_configuration_in_another_encoding_is_reported_in_one_line(tmp_path: Path) -> None:
    file = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")
    file.write_bytes(b"# caf\xe9\n" + file.read_bytes())

    assert "UTF-8" in refusal(run("snapmanage-manage", "--config-file", file, "db", "sync"))


@pytest.mark.parametrize(
    "url",
    [
        *("mysql+pymysql://u:s3cret@:x@db/x", "s3cret", "postgresql+psycopg://u:s3cret@db:x/x"),
        *("oracle://u:s3cret@db/x", "mysql+other://u:s3cret@db/x"),
    ],
)
def test_invalid_database_url_is_refused_without_showing_its_password(tmp_path: Path, url: str) -> None:
    why = refusal(run("snapmanage-manage", "--config-file", configuration(tmp_path, url), "db", "sync"))

    assert "[database] connection is not a valid database URL" in why
    assert "s3cret" not in why


def test_list_of_hosts_in_a_database_url_is_refused_with_the_form_that_works(tmp_path: Path) -> None:
    url = "postgresql+psycopg://u:s3cret@db1:5432,db2:5432/x"

    why = refusal(run("snapmanage-manage", "--config-file", configuration(tmp_path, url), "db", "sync"))

    assert "@/NAME?host=HOST1:PORT&host=HOST2:PORT&target_session_attrs=read-write" in why
    assert "s3cret" not in why


@pytest.mark.parametrize("url", ["rabbit://u:s3cret@host:x/", "rabbit://u:s3cret@[::1/", "s3cret"])
def test_invalid_broker_url_is_refused_without_showing_its_password(tmp_path: Path, url: str) -> None:
    file = configuration(tmp_path, f"sqlite:///{tmp_path}/snapmanage.db")
    file.write_text(f"[DEFAULT]\ntransport_url = {url}\n{file.read_text()}")

    why = refusal(run("snapmanage-relay", "--config-file", file))

    assert "transport_url" in why
    assert "rabbit://" in why
    assert "s3cret" not in why


@pytest.mark.parametrize("command", ["snapmanage-manage", "snapmanage-audit"])
def test_variable_of_libpq_is_refused_by_its_name(tmp_path: Path, command: str) -> None:
    config = configuration(tmp_path, "postgresql+psycopg://snapmanage:s3cret@127.0.0.1:1/name")
    rest = ["service", "list"] if command == "snapmanage-manage" else []

    line = refusal(run(command, "--config-file", config, *rest, PGSSLMODE="require"))

    assert "variable PGSSLMODE of the environment" in line
