"""A real Prometheus with the deployed rules: alerts fire because of their causes, and end with them.

Time passes 60 times as fast in the rules, and the exporter reads twice a second; see `tests.services.prometheus`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest
import sqlalchemy as sa

from snapmanage.bus.names import Names
from snapmanage.store.engine.database import connect
from snapmanage.store.mapping import tables
from snapmanage.testing import needs
from snapmanage.testing.services.deployment import BACKEND, QUICK, SERVER, Deployment, configuration
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import running, unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.services import prometheus as service
from tests.services.prometheus import RULES, Prometheus, shortened

FASTER = 60
MORE = f"{QUICK}service_down_seconds = 3\n[exporter]\ninterval_seconds = 0.5\n"


class Monitored:
    """A deployment with an exporter and a Prometheus."""

    def __init__(self, deployment: Deployment, prometheus: Prometheus, broker: RabbitMQ, database_url: str) -> None:
        self.deployment = deployment
        self.prometheus = prometheus
        self.broker = broker
        self.database_url = database_url

    def await_alert(self, name: str, **labels: str) -> None:
        """Wait until an alert with these labels fires."""
        until(
            lambda: [each for each in self.prometheus.firing(name) if each.items() >= labels.items()],
            f"{name} to fire with {labels}",
            60,
        )

    def await_end(self, name: str) -> None:
        until(lambda: not self.prometheus.firing(name), f"{name} to end", 60)

    def health(self) -> tuple[int, dict[str, str]]:
        """Return the exit code of `health`, and each check that is not ok with its line."""
        ended = self.deployment.manage("health")
        lines = [line for line in ended.stdout.splitlines() if not line.startswith("ok")]
        return ended.returncode, {line[9:].partition(":")[0]: line for line in lines}

    def run_sql(self, statement: sa.Executable) -> None:
        database = connect(self.database_url)
        with database.engine.begin() as conn:
            conn.execute(statement)
        database.close()


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB) -> Iterator[Monitored]:
    needs.require(*service.PROGRAMS)
    folder = tmp_path_factory.mktemp("monitored")
    images = folder / "images"
    images.mkdir()
    for name in ("disk", "disk@daily", "disk@weekly", "disk@monthly"):
        (images / name).write_bytes(b"data")
    database_url = mariadb.database()
    backends = {BACKEND: f"driver = file\ndirectory = {images}"}
    text = configuration(backends, unique("exchange"), database_url, f"transport_url = {rabbitmq.url}", MORE)
    deployment = Deployment(folder, text)
    try:
        deployment.start()
        program = str(Path(sys.executable).parent / "snapmanage-exporter")
        ready = deployment.daemon("exporter", [program, "--metrics-listen", "127.0.0.1:0"]).start()
        address = ready.split("//")[1].removesuffix("/metrics")
        with running(service.scraping(address, [], shortened(RULES.read_text(), FASTER))) as prometheus:
            yield Monitored(deployment, prometheus, rabbitmq, database_url)
    finally:
        deployment.close()


def test_healthy_deployment_has_no_alert(monitored: Monitored) -> None:
    until(lambda: monitored.prometheus.query("snapmanage_service_up == 1"), "Prometheus to scrape the exporter")

    until(lambda: not monitored.prometheus.firing(), "each alert about the time before the first scrape to end")
    assert monitored.health() == (0, {})


def test_killed_server_is_reported_until_it_is_back(monitored: Monitored) -> None:
    monitored.deployment.daemons["volume"].kill()

    monitored.await_alert("SnapmanageServerDown", server=SERVER, severity="critical")
    code, found = monitored.health()
    monitored.deployment.daemons["volume"].start()

    monitored.await_end("SnapmanageServerDown")
    assert code == 2
    assert found["servers"].startswith(f"failed   servers: 1 of 1 are down: {SERVER}")


def test_stopped_broker_is_reported_until_it_is_back(monitored: Monitored) -> None:
    volume_id = monitored.deployment.register("disk")
    monitored.broker.stop()
    snapshot_id = monitored.deployment.request_manage(volume_id, "disk@daily")

    monitored.await_alert("SnapmanageOutboxStalled", kind="cast")
    code, found = monitored.health()
    monitored.broker.start()

    monitored.await_end("SnapmanageOutboxStalled")
    assert code == 2
    assert found["broker"].startswith("failed   broker: it does not answer")
    assert monitored.deployment.await_settled(snapshot_id) == "available"


def test_poisoned_message_is_reported_until_it_is_dropped(monitored: Monitored) -> None:
    queue = Names().server_queue(SERVER)
    with kombu.Connection(monitored.broker.amqp_url) as connection:
        kombu.Producer(connection.channel()).publish(b"no envelope", routing_key=queue)

    monitored.await_alert("SnapmanageQuarantineNotEmpty", queue=queue)
    code, found = monitored.health()
    listed = monitored.deployment.manage("quarantine", "list").stdout
    monitored.deployment.manage("quarantine", "drop", listed.split()[0])

    monitored.await_end("SnapmanageQuarantineNotEmpty")
    assert code == 2
    assert found["quarantine"].startswith(f"warning  quarantine: 1 messages: 1 of {queue}")


def test_audit_that_is_down_is_reported_until_it_has_caught_up(monitored: Monitored) -> None:
    volume_id = monitored.deployment.get("/volumes")["volumes"][0]["id"]
    monitored.deployment.daemons["audit"].stop()
    snapshot_id = monitored.deployment.request_manage(volume_id, "disk@weekly")
    monitored.deployment.await_settled(snapshot_id)

    monitored.await_alert("SnapmanageAuditLag")
    code, found = monitored.health()
    monitored.deployment.daemons["audit"].start()

    monitored.await_end("SnapmanageAuditLag")
    assert code == 2
    assert "have no consumer" in found["queues"]


def test_tampered_audit_row_is_reported_until_it_is_restored(monitored: Monitored) -> None:
    first = tables.audit.c.number == 1
    monitored.run_sql(sa.update(tables.audit).where(first).values(generation=7))

    monitored.await_alert("SnapmanageAuditBroken")
    code, found = monitored.health()
    monitored.run_sql(sa.update(tables.audit).where(first).values(generation=1))

    monitored.await_end("SnapmanageAuditBroken")
    assert code == 2
    assert "row 1 was changed" in found["audit chain"]


def test_exporter_answers_while_the_database_is_away(monitored: Monitored, mariadb: MariaDB) -> None:
    mariadb.stop()

    monitored.await_alert("SnapmanageDatabaseDown")
    mariadb.start()

    monitored.await_end("SnapmanageDatabaseDown")
    assert monitored.deployment.daemons["exporter"].alive
