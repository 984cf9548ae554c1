"""`snapmanage-exporter` serves the state of the deployment, and lives on while the database is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from snapmanage.cmd import exporter
from snapmanage.cmd.exporter import Reader
from snapmanage.manage.application import Application
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.waiting import until
from tests.functional.cmd.programs import FOLDER, Standalone, configuration, manage_snapshot, run

DOWN = "snapmanage_exporter_database_up 0.0"
UP = "snapmanage_exporter_database_up 1.0"


class Exporter:
    """A running exporter with its page."""

    def __init__(self, folder: Path, file: Path) -> None:
        command = [str(FOLDER / "snapmanage-exporter"), "--config-file", str(file), "--metrics-listen", "127.0.0.1:0"]
        self.daemon = Daemon("exporter", command, folder / "exporter.log", is_warm=True)
        self.address = self.daemon.start().split()[1]

    def page(self) -> str:
        answer = requests.get(self.address, timeout=10)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture
def exporters() -> Iterator[list[Exporter]]:
    made: list[Exporter] = []
    yield made
    for each in made:
        each.daemon.close()


def test_page_has_the_state_of_the_deployment(
    standalone: Standalone, exporters: list[Exporter], tmp_path: Path
) -> None:
    snapshot_id = manage_snapshot(standalone.start())
    exporters.append(started := Exporter(tmp_path, standalone.folder / "snapmanage.conf"))

    until(lambda: UP in started.page(), "the first reading")
    page = started.page()

    for line in (
        'snapmanage_snapshots{backend="localhost@files",status="available"} 1.0',
        'snapmanage_snapshots{backend="localhost@files",status="error"} 0.0',
        'snapmanage_operations_late{backend="localhost@files",why="retrying"} 0.0',
        'snapmanage_service_up{driver="file",server="localhost@files"} 1.0',
        'snapmanage_outbox_rows{kind="cast"} 0.0',
        'snapmanage_quarantine_messages{queue="notifications.error"} 0.0',
        'snapmanage_quarantine_messages{queue="snapmanage-volume.localhost@files"} 0.0',
        "snapmanage_audit_ok 1.0",
    ):
        assert f"{line}\n" in page
    assert snapshot_id not in page
    assert started.daemon.stop() == 0


def test_exporter_that_starts_before_its_database_waits_for_it(exporters: list[Exporter], tmp_path: Path) -> None:
    folder = tmp_path / "later"
    file = configuration(tmp_path, f"sqlite:///{folder / 'snapmanage.db'}")
    file.write_text(f"{file.read_text()}[exporter]\ninterval_seconds = 0.1\n")
    exporters.append(started := Exporter(tmp_path, file))
    until(lambda: "can't be read" in started.daemon.log.read_text(), "the first reading to fail")
    before = started.page()

    folder.mkdir()
    assert run("snapmanage-manage", "--config-file", file, "db", "sync").returncode == 0

    until(lambda: UP in started.page(), "the page to say that the database is there")
    assert DOWN in before
    assert "snapmanage_outbox_rows" not in before
    log = started.daemon.log.read_text()
    assert log.count("The state of the deployment can't be read") == 1
    assert "The state of the deployment can be read again" in log


def test_old_facts_are_not_shown(app: Application, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that hangs must not look as it was before."""
    reader = Reader(app, 0.05)
    reader.start()
    until(lambda: reader.latest.facts, "the first reading")
    reader.stop()

    monkeypatch.setattr(exporter, "OLDEST_SECONDS", 0)

    until(lambda: reader.latest.facts is None, "the facts to be too old")


@pytest.mark.parametrize(("took", "pause"), [(0.1, 10), (0.5, 10), (3, 60)])
def test_slow_reading_makes_the_pause_longer(took: float, pause: float) -> None:
    assert exporter.pause_seconds(10, took) == pytest.approx(pause)


def test_missing_address_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    file = configuration(tmp_path, "sqlite://")
    command = [str(FOLDER / "snapmanage-exporter"), "--config-file", str(file)]

    ended = Daemon("exporter", command, tmp_path / "log", is_warm=True).run()

    assert ended.returncode == 1
    assert ended.stderr.startswith("error: [metrics] listen is missing; give --metrics-listen the address")
