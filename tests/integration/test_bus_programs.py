"""Run the two programs of docs/how-to/cast-and-listen.md: one casts a request, the other receives its events."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.daemon import Daemon
from tests.services.deployment import SERVER, Deployment, deployed
from tests.services.mariadb import MariaDB
from tests.services.rabbitmq import RabbitMQ

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "cast-and-listen.md"
PROGRAMS = re.findall(r'```python\n("""(\S+): .*?)```', PAGE.read_text(), re.DOTALL)


@pytest.fixture
def deployment(tmp_path: Path, rabbitmq: RabbitMQ, exchange: str, mariadb: MariaDB) -> Iterator[Deployment]:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("disk", "disk@daily"):
        (images / name).write_bytes(b"data")
    backend = f"driver = file\ndirectory = {images}\n"
    with deployed(tmp_path, rabbitmq.url, exchange, mariadb.database(), backend) as running:
        yield running


@pytest.fixture
def programs(tmp_path: Path, rabbitmq: RabbitMQ, exchange: str) -> dict[str, list[str]]:
    """Return the commands by name, with the page's configuration."""
    [configuration] = re.findall(r"```ini\n(.*?)```", PAGE.read_text(), re.DOTALL)
    settings = re.sub(
        "transport_url = .*", f"transport_url = {rabbitmq.url}\ncontrol_exchange = {exchange}", configuration
    )
    (tmp_path / "programs.conf").write_text(settings)
    for text, name in PROGRAMS:
        (tmp_path / name).write_text(text)
    return {name: [sys.executable, str(tmp_path / name), str(tmp_path / "programs.conf")] for _, name in PROGRAMS}


def test_listening_program_receives_the_events_of_the_casting_program(
    deployment: Deployment, programs: dict[str, list[str]]
) -> None:
    volume_id = deployment.register("disk")
    listener = Daemon("listener", programs["listen.py"], deployment.folder / "listener.log")
    try:
        listener.launch()
        assert listener.next_line() == "listening", listener.log.read_text()

        cast = Daemon("cast", programs["cast.py"], deployment.folder / "cast.log").run(SERVER, volume_id, "disk@daily")

        snapshot_id = cast.stdout.strip()
        assert snapshot_id, cast.stderr
        assert listener.next_line() == f"snapshot.manage.start {snapshot_id} 1 creating"
        assert listener.next_line() == f"snapshot.manage.end {snapshot_id} 2 available"
        deployment.audited_events(snapshot_id, "snapshot.manage.end")
    finally:
        listener.close()


def test_cast_to_a_server_that_never_ran_is_reported_to_its_sender(
    programs: dict[str, list[str]], tmp_path: Path
) -> None:
    sender = Daemon("cast", programs["cast.py"], tmp_path / "cast.log")

    ended = sender.run("storage-9@nowhere", "11111111-1111-4111-8111-111111111111", "disk@daily")

    assert ended.returncode != 0
    assert "MessageUndeliverable" in ended.stderr
