"""While the broker or the database is down, full or slow, requests wait, none is lost, and no process spins."""

import json
import os
import queue
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import kombu
import pytest

from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.rabbitmq import CONSUMER_TIMEOUT
from snapmanage.testing.waiting import until
from tests.chaos import actions
from tests.chaos.fleet.fleet import Fleet, fleet
from tests.chaos.fleet.machines import HOST
from tests.chaos.storm.clients import Client, Task
from tests.services.rabbit_cluster import KINDS, Node, cluster

REQUESTS = 100
CASTS = "SELECT count(*) FROM outbox WHERE kind = 'cast'"
PER_SECOND = os.sysconf("SC_CLK_TCK")


@pytest.fixture
def impatient(deployment: Fleet) -> Iterator[Fleet]:
    """Give the deployment a broker that requeues messages which are unacknowledged for a second."""
    reopen_channels(deployment, 1000)
    yield deployment
    reopen_channels(deployment, CONSUMER_TIMEOUT)


def reopen_channels(deployment: Fleet, consumer_timeout: int) -> None:
    deployment.broker.set_consumer_timeout(consumer_timeout)
    deployment.wires[HOST].to_broker.reset()


@pytest.fixture
def alarmed(deployment: Fleet) -> Iterator[Fleet]:
    """Give the deployment a broker that blocks publishers, because its memory alarm is set."""
    deployment.broker.control("set_vm_memory_high_watermark", "absolute", "1")
    yield deployment
    end_alarm(deployment)


def end_alarm(deployment: Fleet) -> None:
    deployment.broker.control("set_vm_memory_high_watermark", "0.4")


def delete_queue(deployment: Fleet) -> None:
    with kombu.Connection(deployment.broker.amqp_url) as connection:
        connection.channel().queue_delete(f"{deployment.exchange}-volume.{HOST}@pool")


def leaders(node: Node, deployment: Fleet) -> set[str]:
    """Return the leader nodes of the durable queues, as one node of the cluster reports them."""
    listed = json.loads(node.control("list_queues", "name", "leader", "--formatter", "json", "--quiet"))
    return {queue["leader"] for queue in listed if queue["name"] in deployment.queues}


def memory_kb(daemon: Daemon) -> int:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def cpu_seconds(daemon: Daemon) -> float:
    fields = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / PER_SECOND


def test_requests_are_accepted_while_the_broker_is_down_and_carried_out_when_it_is_up(deployment: Fleet) -> None:
    deployment.await_saved_queues()
    used = memory_kb(deployment.daemons["api"])
    deployment.broker.kill()

    for _ in range(REQUESTS):
        actions.manage(deployment)()

    assert deployment.count(CASTS) == REQUESTS
    assert memory_kb(deployment.daemons["api"]) - used < 20_000
    deployment.broker.start()
    deployment.await_idle()


def test_casts_and_events_outlast_a_restart_of_the_broker(deployment: Fleet) -> None:
    """Restart the broker gracefully while no process consumes, so that all messages are queued."""
    deployment.await_saved_queues()
    for name in (HOST, "audit"):
        deployment.daemons[name].close()
    for _ in range(REQUESTS):
        actions.cast(deployment)()

    deployment.broker.restart()

    for name in (HOST, "audit"):
        deployment.daemons[name].start()
    until(lambda: deployment.known_ids() >= deployment.promises.keys(), "the casts to be accepted")
    deployment.await_idle()


def test_consumer_that_is_killed_with_casts_in_flight_loses_none(deployment: Fleet) -> None:
    for _ in range(REQUESTS):
        actions.cast(deployment)()

    deployment.daemons[HOST].kill()

    deployment.daemons[HOST].start()
    until(lambda: deployment.known_ids() >= deployment.promises.keys(), "the casts to be accepted")
    deployment.await_idle()


def test_confirmed_casts_outlast_a_broker_that_is_killed_while_clients_cast(deployment: Fleet) -> None:
    deployment.await_saved_queues()
    tasks: queue.Queue[Task | None] = queue.Queue()
    answers: Counter[str] = Counter()
    client = Client(deployment, tasks, answers)
    for _ in range(REQUESTS):
        source, snapshot_id = deployment.storages[HOST].plant(uuid.uuid4().hex), str(uuid.uuid4())
        tasks.put(partial(Client.cast, host=HOST, source=source, snapshot_id=snapshot_id))
    tasks.put(None)
    client.start()
    until(lambda: answers["confirmed"] > REQUESTS / 4, "some casts to be confirmed")

    deployment.broker.kill()
    until(lambda: answers["unconfirmed"], "an unconfirmed cast")
    deployment.broker.start()

    client.join(60)
    assert (client.failure, answers["confirmed"]) == ("", REQUESTS)
    until(lambda: deployment.known_ids() >= deployment.promises.keys(), "the casts to be accepted")
    deployment.await_idle()


def test_without_the_database_the_api_sends_retry_after_and_servers_keep_their_messages_without_spinning(
    deployment: Fleet,
) -> None:
    server = deployment.daemons[HOST]
    source, snapshot_id = deployment.storages[HOST].plant("patient"), str(uuid.uuid4())
    failures = server.log.read_text().count("messages failed")
    deployment.database.kill()

    answer = deployment.request("/os-snapshot-manage", {"snapshot": {"volume_id": snapshot_id, "ref": {"a": "b"}}})
    deployment.cast(HOST, source, snapshot_id)
    deployment.promises[snapshot_id] = "available"
    processes = list(deployment.daemons.values())
    started, busy = time.monotonic(), [cpu_seconds(each) for each in processes]
    until(lambda: server.log.read_text().count("messages failed") >= failures + 6, "the server to retry")

    assert (answer.status_code, answer.headers["Retry-After"].isdigit()) == (503, True)
    idle = 0.5 * (time.monotonic() - started)
    assert [each.name for each, before in zip(processes, busy, strict=True) if cpu_seconds(each) - before > idle] == []
    deployment.database.start()
    until(lambda: snapshot_id in deployment.known_ids(), "the cast to be accepted", 60)  # retried every ten seconds
    deployment.await_idle()


def test_queue_that_is_deleted_under_its_consumer_is_declared_again(deployment: Fleet) -> None:
    delete_queue(deployment)

    actions.manage(deployment)()

    deployment.await_idle()


def test_cast_to_a_missing_queue_waits_for_its_server(deployment: Fleet) -> None:
    deployment.daemons[HOST].close()
    delete_queue(deployment)

    actions.manage(deployment)()

    until(lambda: "has no queue" in deployment.daemons["api"].log.read_text(), "the broker to return the cast")
    assert deployment.count(CASTS) == 1
    deployment.daemons[HOST].start()
    deployment.await_idle()


def test_messages_that_the_broker_requeues_from_a_slow_consumer_are_accepted_later(impatient: Fleet) -> None:
    def time_outs() -> int:
        return impatient.broker.log.read_text().count("timed out waiting")

    before = time_outs()
    impatient.wires[HOST].to_database.hang()

    actions.cast(impatient)()

    until(lambda: time_outs() > before, "the broker to requeue the message", 30)
    impatient.wires[HOST].to_database.restore()
    until(lambda: impatient.known_ids() >= impatient.promises.keys(), "the cast to be accepted")
    impatient.await_idle()


def test_publishers_that_an_alarm_blocks_continue_when_it_ends(alarmed: Fleet) -> None:
    for _ in range(10):
        actions.manage(alarmed)()

    assert alarmed.count(CASTS) == 10
    end_alarm(alarmed)
    alarmed.await_idle(90)


@pytest.mark.parametrize("kind", KINDS)
def test_requests_outlast_the_death_of_the_leader_node_of_their_queues(
    kind: type[Node], tmp_path: Path, postgresql: PostgreSQL
) -> None:
    with cluster(kind) as nodes:
        ports = [node.port for node in nodes[1:]]
        with fleet(tmp_path / "fleet", nodes[0], postgresql, [HOST], ports) as deployment:
            assert leaders(nodes[1], deployment) == {nodes[0].node}
            for number in range(20):
                actions.manage(deployment)()
                if number == 9:
                    nodes[0].kill()

            deployment.await_idle(180)
            until(lambda: nodes[0].node not in leaders(nodes[1], deployment), "other leaders of all queues", 60)
