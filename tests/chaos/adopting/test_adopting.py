"""A short form of the proof; `python -m tests.chaos.adopting` runs the long one."""

from contextlib import closing
from pathlib import Path

from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.services.storage.ceph import Ceph
from tests.chaos.adopting.backends import Files, Images, Size
from tests.chaos.adopting.proof import adoption

KILLS = 20


def test_client_that_is_killed_twenty_times_adopts_and_undoes_each_snapshot_once(
    tmp_path: Path, rabbitmq: RabbitMQ, mariadb: MariaDB, ceph: Ceph
) -> None:
    with ceph.connected() as cluster, closing(Images(ceph, cluster)) as images:
        files = Files(tmp_path / "files")
        files.lay_out(Size(volumes=4, snapshots=200))
        images.lay_out(Size(volumes=4, snapshots=40))
        with adoption(tmp_path, rabbitmq, mariadb, [files, images], seed="of the tests") as made:
            report = made.run(240, KILLS)

    assert not report.violations, str(report)
    assert {run.exit_code for run in report.runs.values()} == {0}, str(report)
