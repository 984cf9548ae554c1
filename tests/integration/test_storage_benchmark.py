"""The storage benchmark on real services, with few snapshots."""

import pytest

from benchmarks.storage import measure
from benchmarks.world import World
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.rabbitmq import RabbitMQ


@pytest.mark.parametrize(
    ("backend", "process", "report"),
    [("file", "", ""), ("lvm", "lvrename", "lvs")],
)
def test_every_snapshot_is_managed_and_unmanaged_and_the_work_is_counted(
    backend: str, process: str, report: str, rabbitmq: RabbitMQ, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "SNAPSHOTS", 10)
    monkeypatch.setattr(measure, "LOOP_SECONDS", 2)

    figures = measure.run(World(rabbitmq, mariadb), backend)

    if "missing" in figures:
        pytest.skip(figures["missing"])
    managed, kept = figures["rename"]["manage"], figures["keep"]["manage"]
    assert managed["operations"] == kept["operations"] == 10
    assert managed["driver_ms"] > 0
    assert managed["processes"].get(process, 0) == (1 if process else 0)
    assert (process or "none") not in kept["processes"]
    assert managed["reports"].get(report, 0) > 0 or not report
