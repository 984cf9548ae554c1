"""Adopt the snapshots of several backends with a client that is killed again and again, then undo it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from snapmanage.testing.services.deployment import HOST, Deployment, configuration
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.chaos.adopting.backends import Backend
from tests.chaos.adopting.clients import Client, Killed
from tests.chaos.fleet import invariants

STEPS = ("snapshot.manage.start", "snapshot.manage.end", "snapshot.unmanage.start", "snapshot.unmanage.end")


@dataclass
class Report:
    """The runs of the commands, and a sentence for each broken promise."""

    snapshots: int
    runs: dict[str, Killed] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.snapshots} snapshots"]
        lines += [
            f"{command}: {run.seconds:.1f} s, {run.kills} kills, exit code {run.exit_code}"
            for command, run in self.runs.items()
        ]
        return "\n".join([*lines, *self.violations, ""])


class Adoption:
    """One deployment with several backends, and one plan for all of their snapshots."""

    def __init__(self, deployment: Deployment, engine: sa.Engine, backends: Sequence[Backend], seed: str) -> None:
        self._engine = engine
        self._backends = backends
        self._before = self._identities()
        self._client = Client(deployment.folder, deployment.url, seed)

    def run(self, snapshots: int, kills: int) -> Report:
        """Plan, apply and undo; kill the client `kills` times in `apply` and as often in `undo`."""
        report = Report(snapshots)
        hosts = [part for backend in self._backends for part in ("--host", f"{HOST}@{backend.name}")]
        report.runs["plan"] = self._client.run("plan", *hosts, "--out")
        # Each entry has at least two lines: one when it is sent, and one when it is accepted.
        report.runs["apply"] = self._client.run_and_kill(kills, self._journal_lines, 2 * snapshots, "apply", "--yes")
        report.violations += self._unless_managed(snapshots)
        report.runs["undo"] = self._client.run_and_kill(kills, self._unmanaged, snapshots, "undo", "--yes")
        until(lambda: invariants.is_idle(self._engine), "all operations to end", 60)
        report.violations += [*self._unless_restored(), *self._unless_done_once(snapshots)]
        return report

    def _identities(self) -> dict[str, Mapping[str, Any]]:
        return {backend.name: backend.identities() for backend in self._backends}

    def _journal_lines(self) -> int:
        journal = Path(f"{self._client.plan}.journal")
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    def _unmanaged(self) -> int:
        return self._count("SELECT count(*) FROM snapshots WHERE status <> 'available'")

    def _unless_managed(self, snapshots: int) -> Iterator[str]:
        """Yield a sentence unless each snapshot has its new name, and is the object that it was."""
        managed = 0
        for name, now in self._identities().items():
            managed += sum("snapshot-" in each.partition("@")[2] for each in now)
            if sorted(now.values()) != sorted(self._before[name].values()):
                yield f"ANOTHER'S: {name} has other objects than before"
        if managed != snapshots:
            yield f"LOST: {managed} snapshots have a new name"

    def _unless_restored(self) -> Iterator[str]:
        for name, now in self._identities().items():
            different = dict(now.items() ^ self._before[name].items())
            if different:
                yield f"LOST: {len(different)} names or objects of {name} differ: {sorted(different)[:5]}"

    def _unless_done_once(self, snapshots: int) -> Iterator[str]:
        """Yield a sentence unless each snapshot has one record and one event of each kind."""
        records = self._count("SELECT count(*) FROM snapshots")
        if records != snapshots:
            yield f"TWICE: {records} requests were accepted for {snapshots} snapshots"
        until(lambda: self._count("SELECT count(*) FROM audit") >= len(STEPS) * snapshots, "all events to arrive", 60)
        with self._engine.connect() as conn:
            query = sa.text("SELECT event_type, count(*), count(DISTINCT snapshot_id) FROM audit GROUP BY event_type")
            found = {kind: (events, of) for kind, events, of in conn.execute(query)}
        if found != dict.fromkeys(STEPS, (snapshots, snapshots)):
            yield f"TWICE: events of each type, and the snapshots that have one: {found}"

    def _count(self, query: str) -> int:
        with self._engine.connect() as conn:
            return int(conn.execute(sa.text(query)).scalar_one())


@contextmanager
def adoption(
    folder: Path, broker: RabbitMQ, database: MariaDB, backends: Sequence[Backend], seed: str
) -> Iterator[Adoption]:
    """Yield an adoption of the snapshots that are on the backends now."""
    database_url = database.database()
    sections = {backend.name: backend.options for backend in backends}
    text = configuration(sections, unique("exchange"), database_url, f"transport_url = {broker.url}", more="")
    deployment = Deployment(folder, text, f"{HOST}@{backends[-1].name}")
    engine = sa.create_engine(database_url, isolation_level="READ COMMITTED")
    try:
        deployment.start()
        yield Adoption(deployment, engine, backends, seed)
    finally:
        deployment.close()
        engine.dispose()
