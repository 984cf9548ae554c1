"""Certificates, and a configuration for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg

from snapmanage import conf as options
from snapmanage.cmd.wiring import configuration
from snapmanage.testing.services.process import scratch
from tests.services.certificates import Certificates


@pytest.fixture(scope="session")
def certificates() -> Iterator[Certificates]:
    with scratch() as folder:
        yield Certificates(folder)


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
