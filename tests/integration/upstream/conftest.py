"""A Cinder whose volumes are served by snapmanage."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from snapmanage.testing.services.deployment import Deployment, deployed
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import running
from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.services.cinder import VOLUME_ID, Cinder, without_keystone

VOLUME = f"volume-{VOLUME_ID}"
SNAPSHOTS = ("daily", "weekly", "monthly")

OPTIONS = """\
driver = file
directory = {directory}
[DEFAULT]
volume_topic = cinder-volume
[upstream]
endpoint = {endpoint}
interval_seconds = 0.2
timeout_seconds = 5
{credentials}
"""


@pytest.fixture
def cinder(rabbitmq: RabbitMQ, exchange: str) -> Iterator[Cinder]:
    with running(partial(without_keystone, rabbitmq.url, exchange)) as service:
        yield service


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Return a backend with the volume of Cinder's record and three snapshots."""
    folder = tmp_path / "storage"
    folder.mkdir()
    for name in (VOLUME, *(f"{VOLUME}@{each}" for each in SNAPSHOTS)):
        (folder / name).write_bytes(b"data")
    return folder


@pytest.fixture
def deployment(
    cinder: Cinder, rabbitmq: RabbitMQ, mariadb: MariaDB, exchange: str, storage: Path, tmp_path: Path
) -> Iterator[Deployment]:
    options = lines(storage, cinder, "auth_type = none")
    with deployed(tmp_path, rabbitmq.url, exchange, mariadb.database(), options) as made:
        yield made


def lines(storage: Path, cinder: Cinder, credentials: str) -> str:
    """Return the lines of the configuration for a backend that Cinder's casts reach."""
    return OPTIONS.format(directory=storage, endpoint=cinder.endpoint, credentials=credentials)
