"""`snapmanage-status upgrade check` finds each fault that would meet the next restart."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import kombu
import pytest
from sqlalchemy import Connection

from snapmanage.store import outbox, quarantine
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import connect
from snapmanage.store.mapping import tables
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.deployment import BACKEND, SERVER, configuration
from snapmanage.testing.services.process import unique
from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.functional.cmd.programs import FOLDER
from tests.functional.relay.helpers import cast

SUCCESS, WARNING, FAILURE = range(3)


@dataclass
class Host:
    """The configuration, the database and the queues of a host whose processes are stopped."""

    folder: Path
    broker: RabbitMQ
    topic: str = field(default_factory=lambda: unique("volume"))
    exchange: str = field(default_factory=lambda: unique("exchange"))

    @property
    def file(self) -> Path:
        return self.folder / "snapmanage.conf"

    @property
    def database(self) -> Path:
        return self.folder / "snapmanage.db"

    def prepare(self) -> None:
        default = f"transport_url = {self.broker.url}\nvolume_topic = {self.topic}\n"
        default += f"notification_topics = {self.topic}-events"
        backends = {BACKEND: f"driver = file\ndirectory = {self.folder}"}
        self.file.write_text(configuration(backends, self.exchange, f"sqlite:///{self.database}", default))
        self.sync()

    def sync(self, revision: str = "head") -> None:
        db = connect(f"sqlite:///{self.database}")
        schema.sync(db.engine, revision)
        db.close()

    def write(self, work: Callable[[Connection, datetime], object]) -> None:
        db = connect(f"sqlite:///{self.database}")
        db.write(work)
        db.close()

    def run(self, *arguments: str) -> tuple[int, str]:
        command = [str(FOLDER / "snapmanage-status"), "--config-file", str(self.file), "upgrade", "check", *arguments]
        ended = Daemon("status", command, self.folder / "status.log").run()
        assert ended.stderr == "", ended.stderr
        return ended.returncode, ended.stdout

    def check(self) -> tuple[int, Mapping[str, tuple[int, str]]]:
        """Return the exit code, and the result and the details of each check that is no success."""
        code, text = self.run("--json")
        results: list[dict[str, Any]] = json.loads(text)["checks"]
        return code, {each["check"]: (each["result"], each["details"]) for each in results if each["result"]}


@pytest.fixture
def host(tmp_path: Path, rabbitmq: RabbitMQ) -> Host:
    made = Host(tmp_path, rabbitmq)
    made.prepare()
    return made


def test_deployment_without_faults_passes(host: Host) -> None:
    assert host.check() == (SUCCESS, {})
    code, table = host.run()
    assert code == SUCCESS
    assert "| Check: Database schema " in table


def test_old_schema_is_a_failure(host: Host) -> None:
    host.database.unlink()
    host.sync("0013")

    code, found = host.check()

    assert code == FAILURE
    assert found["Database schema"][0] == FAILURE
    assert "snapmanage-manage db sync" in found["Database schema"][1]


@pytest.mark.parametrize(
    ("arguments", "result"),
    [({"x-queue-type": "classic"}, FAILURE), ({"x-queue-type": "quorum", "x-max-length": 5}, WARNING)],
)
def test_queue_with_other_arguments_is_found_and_left_as_it_is(
    host: Host, arguments: dict[str, Any], result: int
) -> None:
    name = f"{host.topic}.{SERVER}"
    with kombu.Connection(host.broker.amqp_url) as connection:
        channel = connection.channel()
        kombu.Exchange(host.exchange, "topic", durable=True)(channel).declare()
        kombu.Queue(name, durable=True, queue_arguments=arguments)(channel).queue_declare()

    code, found = host.check()

    assert (code, list(found)) == (result, ["Queues"])
    assert f"Queue {name} " in found["Queues"][1]
    assert "Remedy" in found["Queues"][1]
    assert host.check() == (code, found)


def test_queues_that_do_not_exist_are_not_declared(host: Host) -> None:
    host.check()

    with kombu.Connection(host.broker.amqp_url) as connection, pytest.raises(Exception, match="NOT_FOUND"):
        connection.channel().queue_declare(host.topic, passive=True)


def test_unknown_option_is_a_warning_with_the_nearest_name(host: Host) -> None:
    with host.file.open("a") as file:
        file.write("claim_batsh = 3\n")

    code, found = host.check()

    assert (code, list(found)) == (WARNING, ["Unknown options"])
    assert "did you mean claim_batch?" in found["Unknown options"][1]


@pytest.mark.parametrize(
    ("rules", "result", "named"),
    [
        ('"volume_extension:volume_manag": "@"\n', WARNING, "volume_extension:volume_manag"),
        ('"support": "role:support"\n"snapshot_extension:snapshot_manage": "rule:support"\n', SUCCESS, ""),
        ("- no mapping\n", FAILURE, "policy.yaml"),
        ('{"context_is_admin": "role:operator"}\n', FAILURE, "JSON"),
    ],
)
def test_policy_file_is_checked(host: Host, rules: str, result: int, named: str) -> None:
    policy = host.folder / "policy.yaml"
    policy.write_text(rules)
    with host.file.open("a") as file:
        file.write(f"\n[oslo_policy]\npolicy_file = {policy}\n")

    code, found = host.check()

    assert code == result
    assert named in found.get("Policy file", (0, ""))[1]


def test_message_in_the_quarantine_is_a_warning(host: Host) -> None:
    host.write(lambda conn, now: quarantine.add(conn, "queue", b"body", {}, "it can't be understood", now))

    code, found = host.check()

    assert (code, list(found)) == (WARNING, ["Quarantine"])
    assert "The quarantine has 1 message." in found["Quarantine"][1]


def test_message_that_waits_in_the_outbox_is_a_warning(host: Host) -> None:
    host.write(lambda conn, now: outbox.add(conn, [cast()], now - timedelta(minutes=5), now))

    code, found = host.check()

    assert (code, list(found)) == (WARNING, ["Outbox"])
    assert "1 message has been in the outbox" in found["Outbox"][1]


def test_broken_audit_log_is_a_failure(host: Host) -> None:
    host.write(lambda conn, now: conn.execute(tables.audit_head.delete()))

    code, found = host.check()

    assert (code, list(found)) == (FAILURE, ["Audit log"])


def test_broker_that_does_not_answer_is_a_warning(host: Host) -> None:
    text = host.file.read_text()
    host.file.write_text(text.replace(host.broker.url, "rabbit://guest:guest@127.0.0.1:1/"))

    code, found = host.check()

    assert (code, list(found)) == (WARNING, ["RabbitMQ version", "Queues"])
    assert found["Queues"][1].startswith("Not checked: the broker can't be reached")
