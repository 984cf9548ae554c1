"""Certificates, and a configuration for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg

from snapmanage import conf as options
from snapmanage.cmd.wiring import configuration
from snapmanage.testing import needs
from snapmanage.testing.services import mariadb, postgresql
from snapmanage.testing.services.process import running, scratch
from tests.services.network.certificates import Certificates
from tests.services.network.tls_services import TlsMariaDB, TlsPostgreSQL, with_certificates


@pytest.fixture(scope="session")
def certificates() -> Iterator[Certificates]:
    with scratch() as folder:
        yield Certificates(folder)


@pytest.fixture(scope="session")
def tls_mariadb(certificates: Certificates) -> Iterator[TlsMariaDB]:
    needs.require(*mariadb.PROGRAMS)
    with running(with_certificates(TlsMariaDB, certificates)) as service:
        yield service


@pytest.fixture(scope="session")
def tls_postgresql(certificates: Certificates) -> Iterator[TlsPostgreSQL]:
    needs.require(*postgresql.PROGRAMS)
    with running(with_certificates(TlsPostgreSQL, certificates)) as service:
        yield service


@pytest.fixture
def configured(tmp_path: Path) -> Iterator["Configure"]:
    yield Configure(tmp_path)
    cfg.CONF.reset()


class Configure:
    """Reads a text as the configuration file, like the mains."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "snapmanage.conf"

    def __call__(self, text: str) -> cfg.ConfigOpts:
        self.file.write_text(text)
        # oslo.messaging's client reads some of its options only from cfg.CONF.
        cfg.CONF.reset()
        options.register(cfg.CONF)
        configuration.register_messaging(cfg.CONF)
        cfg.CONF([], default_config_files=[str(self.file)])
        return cfg.CONF
