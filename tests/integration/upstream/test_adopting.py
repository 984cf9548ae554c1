"""A plan against Cinder's API of the package index, whose operations snapmanage carries out."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from snapmanage.testing.services.deployment import Deployment
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import running
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.functional.adopting.shell import Shell
from tests.integration.upstream.commands import commands, count, kill_when, records
from tests.integration.upstream.conftest import SNAPSHOTS, VOLUME
from tests.page_blocks import adapted, block
from tests.services.cinder import HOST, Cinder, without_keystone


@pytest.fixture
def cinder(rabbitmq: RabbitMQ, mariadb: MariaDB, exchange: str) -> Iterator[Cinder]:
    database = mariadb.database()  # the client sends several requests at a time
    with running(partial(without_keystone, rabbitmq.url, exchange, database=database)) as service:
        yield service


@pytest.fixture
def shell(cinder: Cinder, tmp_path: Path) -> Shell:
    return commands(cinder, tmp_path / "client")


def test_plan_is_carried_out_once_and_undone_with_the_help_of_an_operator(
    shell: Shell, cinder: Cinder, deployment: Deployment, storage: Path
) -> None:
    before = inodes(storage)
    plan = str(shell.folder / "plan.jsonl")
    assert len(shell.rows("list", "--host", HOST)) == len(SNAPSHOTS)
    assert shell.run("plan", "--host", HOST, "--out", plan).returncode == 0

    kill_when(shell, lambda: count(plan, "s", "sending") > 0, "apply", plan, "--yes", "--parallel", "1")
    ended = shell.run("apply", plan, "--yes")

    assert ended.returncode == 0, ended.stderr
    assert [status for _, status in records(cinder, "snapshots")] == ["available"] * len(SNAPSHOTS)
    assert inodes(storage).keys() & before.keys() == {VOLUME}
    assert sorted(inodes(storage).values()) == sorted(before.values())
    assert [(row["Outcome"], row["Count"]) for row in shell.rows("report", plan)] == [("done", len(SNAPSHOTS))]
    assert shell.run("diff", plan).returncode == 0

    kill_when(shell, lambda: count(plan, "s", "undone") == len(SNAPSHOTS), "undo", plan, "--yes")

    until(lambda: inodes(storage) == before, "every old name to be back")
    assert shell.run("undo", plan, "--yes", "--timeout", "5").returncode == 3
    assert [status for _, status in records(cinder, "snapshots")] == ["unmanaging"] * len(SNAPSHOTS)
    remove_as_the_page_says(cinder, deployment)
    ended = shell.run("undo", plan, "--yes")
    assert ended.returncode == 0, ended.stderr
    assert cinder.snapshots() == []
    assert [status for _, status in records(cinder, "snapshots")] == ["deleted"] * len(SNAPSHOTS)


def remove_as_the_page_says(cinder: Cinder, deployment: Deployment) -> None:
    """Remove the records of the unmanaged snapshots from Cinder with the statement of the how-to."""
    until(lambda: len(unmanaged(deployment)) == len(SNAPSHOTS), "the ends of all operations")
    statement = block("another-control-plane.md", "Remove unmanaged records", "UPDATE")
    engine = sa.create_engine(cinder.database)
    with engine.begin() as connection:
        for snapshot_id in unmanaged(deployment):
            connection.execute(sa.text(adapted(statement, {"ID": snapshot_id})))
    engine.dispose()


def unmanaged(deployment: Deployment) -> list[str]:
    """Return the ids of the unmanaged snapshots that snapmanage lists."""
    return [line.split()[0] for line in deployment.manage("upstream", "unmanaged").stdout.splitlines()]


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.iterdir()}
