"""A process warns once if its connection to the database leaves the host without TLS."""

import pytest
from oslo_config import cfg

from snapmanage import conf as options
from snapmanage.cmd.wiring import configuration
from snapmanage.testing.services.process import unique


def connected(url: str) -> None:
    conf = cfg.ConfigOpts()
    options.register(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    conf.set_override("connection", url, group="database")
    configuration.database(conf).close()


@pytest.mark.parametrize("start", ["mysql+pymysql", "postgresql+psycopg"])
def test_plain_connection_to_another_host_is_logged_once(start: str, caplog: pytest.LogCaptureFixture) -> None:
    host = f"{unique('host').replace('_', '-')}.example"

    for _ in range(2):
        connected(f"{start}://snapmanage:s3cret@{host}/name")

    [record] = [each for each in caplog.records if host in each.getMessage()]
    assert record.levelname == "WARNING"
    assert "docs/how-to/tls.md" in record.getMessage()
    assert "s3cret" not in caplog.text


def test_local_connection_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    connected("mysql+pymysql://snapmanage:s3cret@127.0.0.1/name")

    assert caplog.records == []
