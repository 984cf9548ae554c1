"""Figures of the same machine in the same minutes, for the bus alone and for the database alone.

Each floor runs in a process of its own, `python -m benchmarks.floors NAME URL`, and prints its figures.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import kombu

import snapmanage.cmd  # noqa: F401 - selects threads before the first import of oslo.messaging
from benchmarks.world import World
from snapmanage.testing.services.process import unique

CASTS = 5000
PUBLICATIONS = 3000
BATCH = 100
COMMITS = 1000
ROWS = 50_000
BODY = b"x" * 600
QUORUM = {"x-queue-type": "quorum"}


def run(world: World) -> dict[str, dict[str, Any]]:
    """Return the figures of all floors, by name."""
    urls = dict.fromkeys(("kombu_consumer", "confirmed", "confirmed_in_batches"), world.rabbitmq.amqp_url)
    urls |= {"oslo_server": world.rabbitmq.url}
    urls |= {name: world.mariadb.database() for name in ("commits", "rows_in_batches")}
    return {name: in_process(name, url) for name, url in urls.items()}


def in_process(name: str, url: str) -> dict[str, Any]:
    """Return the figures of a floor, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.floors", name, url]
    figures: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return figures


def oslo_server(url: str) -> dict[str, Any]:
    """Measure oslo.messaging's RPC server with an empty endpoint, on casts that wait in its quorum queue."""
    import oslo_messaging
    from oslo_config import cfg

    cfg.CONF([], project="benchmark", default_config_files=[])
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url)
    cfg.CONF.set_override("rabbit_quorum_queue", True, group="oslo_messaging_rabbit")
    target = oslo_messaging.Target(topic=unique("floor"), server="one")
    done = threading.Event()

    class EmptyEndpoint:
        left = CASTS

        def manage_snapshot(self, ctxt: Any, snapshot_id: str) -> None:
            self.left -= 1
            if not self.left:
                done.set()

    server = oslo_messaging.get_rpc_server(transport, target, [EmptyEndpoint()])
    server.start()  # declares the queue
    server.stop()
    server.wait()
    client = oslo_messaging.get_rpc_client(transport, target.__class__(topic=target.topic, server="one"))
    for _ in range(CASTS):
        client.cast({}, "manage_snapshot", snapshot_id=unique("x"))
    server = oslo_messaging.get_rpc_server(transport, target, [EmptyEndpoint()])
    return _measure(CASTS, lambda: (server.start(), done.wait(60)))


def kombu_consumer(url: str) -> dict[str, Any]:
    """Measure kombu, which receives messages from a quorum queue and acknowledges each."""
    with kombu.Connection(url) as connection:
        queue = kombu.Queue(unique("floor"), queue_arguments=QUORUM)
        _publish(connection, queue, CASTS)
        left = CASTS

        def acknowledge(message: Any) -> None:
            nonlocal left
            message.ack()
            left -= 1

        def consume() -> None:
            with connection.Consumer(queue, on_message=acknowledge, prefetch_count=200):
                while left:
                    connection.drain_events(timeout=10)

        return _measure(CASTS, consume)


def confirmed(url: str) -> dict[str, Any]:
    """Measure persistent messages to a quorum queue, each with a wait for its confirm."""
    with kombu.Connection(url, transport_options={"confirm_publish": True}) as connection:
        queue = kombu.Queue(unique("floor"), queue_arguments=QUORUM)
        return _measure(PUBLICATIONS, lambda: _publish(connection, queue, PUBLICATIONS))


def confirmed_in_batches(url: str) -> dict[str, Any]:
    """Like `confirmed`, but wait once for the confirms of a hundred messages."""
    with kombu.Connection(url) as connection:
        channel = connection.default_channel
        queue = kombu.Queue(unique("floor"), queue_arguments=QUORUM)
        queue(channel).declare()
        channel.confirm_select()
        confirms: list[int] = [0]
        channel.events["basic_ack"].add(lambda tag, multiple: confirms.append(tag))

        def publish() -> None:
            for start in range(0, CASTS, BATCH):
                _publish(connection, queue, BATCH, declare=False)
                while confirms[-1] < start + BATCH:
                    connection.drain_events(timeout=10)

        return _measure(CASTS, publish)


def commits(url: str) -> dict[str, Any]:
    """Measure transactions of one row on one connection."""
    return _insert(url, COMMITS, 1)


def rows_in_batches(url: str) -> dict[str, Any]:
    """Measure rows in transactions of a hundred rows."""
    return _insert(url, ROWS, BATCH)


def _insert(url: str, rows: int, batch: int) -> dict[str, Any]:
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    connection: Any = engine.raw_connection()
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE floor (id INT PRIMARY KEY AUTO_INCREMENT, body TEXT)")

    def insert() -> None:
        for _ in range(rows // batch):
            cursor.executemany("INSERT INTO floor (body) VALUES (%s)", [(BODY,)] * batch)
            connection.commit()

    try:
        return _measure(rows, insert)
    finally:
        connection.close()
        engine.dispose()


def _publish(connection: Any, queue: Any, count: int, declare: bool = True) -> None:
    if declare:
        queue(connection.default_channel).declare()
    producer = connection.Producer()
    for _ in range(count):
        producer.publish(BODY, routing_key=queue.name, delivery_mode=2)


def _measure(operations: int, do: Callable[[], Any]) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    do()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"per_second": round(operations / wall, 1), "cpu_ms": round(1000 * cpu / operations, 3)}


FLOORS = [oslo_server, kombu_consumer, confirmed, confirmed_in_batches, commits, rows_in_batches]

if __name__ == "__main__":
    named = {floor.__name__: floor for floor in FLOORS}
    print(json.dumps(named[sys.argv[1]](sys.argv[2])))
