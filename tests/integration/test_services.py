"""The real services of other tests keep their data over a kill, and leave no process or file behind."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import kombu
import pytest
import sqlalchemy as sa
from kombu.utils.encoding import bytes_to_str

from snapmanage.testing.services import process
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.process import (
    LOOPBACK,
    Program,
    Service,
    family,
    free_port,
    processes,
    running,
    scratch,
    unique,
)
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until

SERVICES = ["rabbitmq", "mariadb", "postgresql"]


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Service:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Service)
    return found


@pytest.fixture(params=["mariadb", "postgresql"])
def server(request: pytest.FixtureRequest) -> MariaDB | PostgreSQL:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, MariaDB | PostgreSQL)
    return found


def send(broker: RabbitMQ, queue: kombu.Queue, body: str) -> None:
    with kombu.Connection(broker.amqp_url, transport_options={"confirm_publish": True}) as connection:
        producer = connection.Producer()
        producer.publish(body, routing_key=queue.name, declare=[queue], delivery_mode="persistent")


def receive(broker: RabbitMQ, queue: kombu.Queue) -> str | None:
    with kombu.Connection(broker.amqp_url) as connection:
        message = queue(connection.default_channel).get(no_ack=True)
        return message and str(bytes_to_str(message.body))


def listening(port: int) -> set[str]:
    """Return the local addresses with a listener at a port, as the kernel lists them."""
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()]
    addresses = [fields[1].split(":") for fields in lines if fields[3] == "0A"]
    return {
        ".".join(str(byte) for byte in reversed(bytes.fromhex(address)))
        for address, its_port in addresses
        if int(its_port, 16) == port
    }


class FailingService(Service):
    def command(self) -> list[str]:
        return ["sh", "-c", "echo no space left for me; exit 3"]

    def answers(self) -> bool:
        return False


class UnstoppableService(Service):
    def command(self) -> list[str]:
        return ["sh", "-c", "trap '' TERM; echo ready > ready; while :; do sleep 600; done"]

    def answers(self) -> bool:
        return (self.folder / "ready").exists()


def test_confirmed_message_outlives_a_killed_broker(rabbitmq: RabbitMQ) -> None:
    queue = kombu.Queue(unique("durable"), queue_arguments={"x-queue-type": "quorum"})
    send(rabbitmq, queue, "still here")
    until(lambda: rabbitmq.remembers(queue.name), "the broker to save the queue")

    rabbitmq.kill()
    rabbitmq.start()

    assert until(lambda: receive(rabbitmq, queue), "the message") == "still here"


def test_committed_row_outlives_a_killed_server(server: MariaDB | PostgreSQL) -> None:
    engine = sa.create_engine(server.database())
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE kept (word VARCHAR(20))"))
        connection.execute(sa.text("INSERT INTO kept VALUES ('still here')"))
    engine.dispose()

    server.kill()
    server.start()

    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT word FROM kept")) == "still here"
    engine.dispose()


def test_restarted_service_answers_on_the_same_port(service: Service) -> None:
    port = service.port

    service.restart()

    assert service.answers()
    assert service.port == port


def test_frozen_service_answers_once_it_is_thawed(service: Service) -> None:
    with ThreadPoolExecutor(1) as pool:
        service.freeze()
        answer = pool.submit(service.answers)
        early, _ = wait([answer], timeout=0.3)
        service.thaw()

    assert not early
    assert answer.result()


def test_service_listens_only_on_the_loopback(service: Service) -> None:
    assert listening(service.port) == {LOOPBACK}


def test_every_database_is_new_and_empty(database_url: str) -> None:
    engine = sa.create_engine(database_url)

    tables = sa.inspect(engine).get_table_names()

    engine.dispose()
    assert tables == []


def test_databases_keep_characters_of_four_bytes(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE words (word VARCHAR(20))"))
        connection.execute(sa.text("INSERT INTO words VALUES (:word)"), {"word": "\N{CAMERA}"})
        word = connection.scalar(sa.text("SELECT word FROM words"))
    engine.dispose()

    assert word == "\N{CAMERA}"


def test_kill_reaches_children_that_left_the_process_group() -> None:
    with scratch() as folder:
        program = Program("family", folder)
        program.launch(["sh", "-c", "setsid sleep 600 & echo started; wait"])
        until(lambda: "started" in program.log_tail() and len(family(program.pid)) == 2, "the child")
        pids = family(program.pid)

        program.kill()

        assert not pids & processes().keys()


def test_freeze_reaches_a_child_that_starts_while_its_parent_is_being_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    with scratch() as folder:
        os.mkfifo(folder / "go")
        program = Program("family", folder)
        program.launch(["sh", "-c", "(read line < go; sleep 600; true) & wait"])
        until(lambda: len(family(program.pid)) == 2, "the parent of the late child")

        def late(number: signal.Signals, pids: Iterable[int]) -> None:
            monkeypatch.undo()
            (folder / "go").write_text("on\n")
            until(lambda: len(family(program.pid)) == 3, "the child")
            process.send(number, pids)

        monkeypatch.setattr(process, "send", late)

        program.freeze()

        assert {processes()[pid].state for pid in family(program.pid)} == {"T"}
        program.kill()


def test_failed_start_shows_the_end_of_the_log() -> None:
    with pytest.raises(AssertionError, match="no space left for me"), running(FailingService):
        pass


def test_service_that_ignores_its_stop_signal_is_killed() -> None:
    with running(UnstoppableService) as service:
        service.stop(seconds=0.1)

        assert not service.running


def test_scratch_folder_is_removed_with_its_service() -> None:
    with running(UnstoppableService) as service:
        service.kill()

    assert not service.folder.exists()


def test_free_port_is_below_the_range_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert free_port() < lowest


def test_free_port_is_returned_once_even_without_a_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "sample", lambda ports, number: ports[:number])
    program = "import random; random.sample = lambda ports, number: ports[:number]\n"
    program += "from snapmanage.testing.services.process import free_port; print(free_port())"

    ours = free_port()
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert ours not in {free_port(), int(elsewhere)}
