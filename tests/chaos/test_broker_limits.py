"""Confirmed casts and events outlast the broker's own limits, even if a service is down or a process dies."""

import uuid
from collections.abc import Iterator

import pytest

from snapmanage.crash import VARIABLE
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import running
from snapmanage.testing.services.rabbitmq import DEAD_LETTERS_AGAIN, RabbitMQ
from snapmanage.testing.waiting import until
from tests.chaos import actions
from tests.chaos.fleet.fleet import Fleet, fleet
from tests.chaos.fleet.machines import HOST
from tests.services.guests import trixie
from tests.services.guests.trixie import TrixieRabbitMQ

DELIVERIES = 2
IMPATIENT = f"[{{rabbit, [{{consumer_timeout, 1000}}, {{channel_tick_interval, 200}}, {DEAD_LETTERS_AGAIN}]}}]."


class ImpatientRabbitMQ(RabbitMQ):
    """A broker that requeues messages which are unacknowledged for a second."""

    advanced = IMPATIENT


class ImpatientTrixieRabbitMQ(TrixieRabbitMQ):
    advanced = IMPATIENT


IMPATIENT_BROKERS = [ImpatientRabbitMQ, *([ImpatientTrixieRabbitMQ] if trixie.folder() else [])]


@pytest.fixture(scope="module", params=IMPATIENT_BROKERS, ids=lambda kind: kind.__name__)
def limited(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, mariadb: MariaDB
) -> Iterator[Fleet]:
    """Run a deployment in which every queue has a delivery limit."""
    with running(request.param) as broker:
        broker.control("set_policy", "limit", ".*", f'{{"delivery-limit": {DELIVERIES}}}', "--apply-to", "queues")
        with fleet(tmp_path_factory.mktemp("limited"), broker, mariadb, [HOST]) as made:
            yield made


def await_promises(deployment: Fleet) -> None:
    """Wait until every promised operation is done."""
    until(lambda: deployment.known_ids() >= deployment.promises.keys(), "the casts to be accepted", 60)
    deployment.await_idle()


def failures(deployment: Fleet) -> int:
    return deployment.daemons[HOST].log.read_text().count("messages failed")


def is_available(deployment: Fleet, snapshot_id: str) -> bool:
    query = "SELECT count(*) FROM snapshots WHERE id = :id AND status = 'available'"
    return bool(deployment.count(query, id=snapshot_id))


def test_cast_outlasts_a_stopped_database_and_the_broker_s_time_out(limited: Fleet) -> None:
    before = failures(limited)
    limited.database.stop()

    actions.cast(limited)()
    until(lambda: failures(limited) >= before + 6, "the server to fail for longer than several time-outs", 90)

    limited.database.start()
    await_promises(limited)


def test_cast_outlasts_a_database_that_hangs_for_several_time_outs(limited: Fleet) -> None:
    time_outs = limited.broker.log.read_text().count("timed out")
    limited.wires[HOST].to_database.hang()

    actions.cast(limited)()
    until(
        lambda: limited.broker.log.read_text().count("timed out") > time_outs, "the broker to requeue the message", 30
    )

    limited.wires[HOST].to_database.restore()
    await_promises(limited)


def test_cast_outlasts_a_server_that_dies_at_more_deliveries_than_the_limit(limited: Fleet) -> None:
    server = limited.daemons[HOST]
    server.close()
    actions.cast(limited)()

    for _ in range(3 * DELIVERIES):
        server.launch({VARIABLE: "received"})
        server.await_exit()

    server.start()
    await_promises(limited)


def test_message_that_kills_more_often_than_the_limit_is_quarantined_not_dropped(limited: Fleet) -> None:
    server, source, snapshot_id = limited.daemons[HOST], limited.storages[HOST].plant("deadly"), str(uuid.uuid4())
    deadly = {VARIABLE: "accept-uncommitted", "OS_OPERATIONS__MAX_ATTEMPTS": str(2 * DELIVERIES)}
    server.close()
    limited.cast(HOST, source, snapshot_id)

    quarantined = "SELECT count(*) FROM quarantine WHERE reason LIKE '%died%'"
    for _ in range(4 * DELIVERIES):
        server.launch(deadly)
        until(
            lambda: not server.alive or limited.count(quarantined),
            "the server to die, or to quarantine the message",
            60,
        )
        if server.alive:
            break

    assert server.alive
    server.close()
    server.start()
    await_promises(limited)


@pytest.mark.parametrize("definition", ['{"message-ttl": 200}', '{"max-length": 1, "overflow": "drop-head"}'])
def test_events_outlast_limits_of_the_auditors_queues(limited: Fleet, definition: str) -> None:
    pattern = f"^snapmanage-audit.{limited.exchange}"
    limited.broker.control("set_policy", "events", pattern, definition, "--apply-to", "queues", "--priority", "1")
    limited.daemons["audit"].close()

    for _ in range(3):
        actions.manage(limited)()
    until(lambda: all(is_available(limited, each) for each in limited.promises), "the snapshots to be managed")

    limited.daemons["audit"].start()
    limited.broker.control("clear_policy", "events")
    limited.await_idle()
