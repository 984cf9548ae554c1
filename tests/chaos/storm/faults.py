"""Faults that a storm injects into a deployment; each lasts a moment.

The storm's own random generator alone chooses kind, target and duration of each fault, so a seed repeats its storm.
"""

import json
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import sqlalchemy as sa

from snapmanage.testing.services.rabbitmq import CONSUMER_TIMEOUT
from tests.chaos.fleet.fleet import Fleet
from tests.services.network.wire import Wire

Fault = Callable[[Fleet, random.Random], None]

# Seconds; a lease takes one second.
LONGER_THAN_A_LEASE = (1.2, 3.0)


def kill_server(fleet: Fleet, chance: random.Random) -> None:
    _kill(fleet, chance, chance.choice(fleet.servers))


def kill_two_servers(fleet: Fleet, chance: random.Random) -> None:
    """Kill two servers at the same moment."""
    names = chance.sample(fleet.servers, 2)
    for name in names:
        fleet.daemons[name].kill()
    time.sleep(chance.uniform(0, 1))
    for name in names:
        fleet.revive(name)


def kill_api(fleet: Fleet, chance: random.Random) -> None:
    _kill(fleet, chance, "api")


def kill_relay(fleet: Fleet, chance: random.Random) -> None:
    _kill(fleet, chance, "relay")


def kill_audit(fleet: Fleet, chance: random.Random) -> None:
    _kill(fleet, chance, "audit")


def stop_any(fleet: Fleet, chance: random.Random) -> None:
    """Stop a process with SIGTERM, as an upgrade does."""
    name = chance.choice(list(fleet.daemons))
    fleet.daemons[name].send(signal.SIGTERM)
    time.sleep(chance.uniform(0, 0.5))
    fleet.daemons[name].await_exit()
    fleet.revive(name)


def freeze_server(fleet: Fleet, chance: random.Random) -> None:
    _freeze(fleet, chance, chance.choice(fleet.servers))


def freeze_other(fleet: Fleet, chance: random.Random) -> None:
    _freeze(fleet, chance, chance.choice(["api", "relay", "audit"]))


def kill_broker(fleet: Fleet, chance: random.Random) -> None:
    fleet.broker.kill()
    time.sleep(chance.uniform(0, 2))
    fleet.broker.start()


def restart_broker(fleet: Fleet, chance: random.Random) -> None:
    fleet.broker.restart()


def kill_database(fleet: Fleet, chance: random.Random) -> None:
    fleet.database.kill()
    time.sleep(chance.uniform(0, 2))
    fleet.database.start()


def restart_database(fleet: Fleet, chance: random.Random) -> None:
    fleet.database.restart()


def drop_connections(fleet: Fleet, chance: random.Random) -> None:
    """End sessions of the database at any point of their work, as an administrator may."""
    sessions, end = {
        "mysql": ("SELECT id FROM information_schema.processlist WHERE db = DATABASE()", "KILL {}"),
        "postgresql": (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()",
            "SELECT pg_terminate_backend({})",
        ),
    }[fleet.engine.dialect.name]
    with fleet.engine.connect() as conn:
        own = conn.execute(sa.text("SELECT CONNECTION_ID()" if "KILL" in end else "SELECT pg_backend_pid()")).scalar()
        for session in sorted(conn.execute(sa.text(sessions)).scalars()):
            if session != own and chance.random() < 0.6:
                with suppress(sa.exc.DBAPIError):
                    conn.execute(sa.text(end.format(session)))


def lock_rows(fleet: Fleet, chance: random.Random) -> None:
    """Lock the rows in progress one by one in reverse order, repeatedly, so that other processes get deadlocks."""
    in_progress = sa.text("SELECT id FROM snapshots WHERE status IN ('creating', 'unmanaging') ORDER BY id DESC")
    lock = sa.text("SELECT id FROM snapshots WHERE id = :id FOR UPDATE")
    deadline = time.monotonic() + chance.uniform(1, 2)
    while time.monotonic() < deadline:
        with suppress(sa.exc.DBAPIError), fleet.engine.begin() as conn:
            for snapshot_id in conn.execute(in_progress).scalars().all():
                conn.execute(lock, {"id": snapshot_id})
                time.sleep(0.02)
                if time.monotonic() > deadline:
                    break
        time.sleep(0.02)


def slow_wire(fleet: Fleet, chance: random.Random) -> None:
    wire = _wire(fleet, chance)
    wire.slow(chance.uniform(0.01, 0.2))
    time.sleep(chance.uniform(1, 3))
    wire.restore()


def hang_wire(fleet: Fleet, chance: random.Random) -> None:
    """Hold back all data for longer than a lease, then deliver it late."""
    wire = _wire(fleet, chance)
    wire.hang()
    time.sleep(chance.uniform(1.2, 4))
    wire.restore()


def break_wire(fleet: Fleet, chance: random.Random) -> None:
    _wire(fleet, chance).reset()


def lose_wire(fleet: Fleet, chance: random.Random) -> None:
    """Make connections half open, so that neither side notices until its own time-out; then reset the connections."""
    wire = _wire(fleet, chance)
    wire.freeze()
    time.sleep(chance.uniform(1.2, 4))
    wire.reset()


def limit_queues(fleet: Fleet, chance: random.Random) -> None:
    """Set a policy that drops nearly all messages: requeued ones, old ones, and those beyond a short length."""
    pattern = rf"^(snapmanage-audit\.)?{fleet.exchange}"
    limits = {"delivery-limit": 1, "message-ttl": 50, "max-length": 20, "overflow": "drop-head"}
    fleet.broker.control("set_policy", fleet.exchange, pattern, json.dumps(limits), "--apply-to", "queues")
    chance.choice([wires.to_broker for wires in fleet.wires.values()]).reset()
    time.sleep(chance.uniform(0.5, 1.5))
    fleet.broker.control("clear_policy", fleet.exchange)


def requeue_unacknowledged(fleet: Fleet, chance: random.Random) -> None:
    """Let the broker requeue messages that are unacknowledged for a moment, while the database hangs."""
    wires = chance.choice(list(fleet.wires.values()))
    fleet.broker.set_consumer_timeout(200)
    wires.to_broker.reset()
    wires.to_database.hang()
    time.sleep(chance.uniform(1.2, 3))
    wires.to_database.restore()
    fleet.broker.set_consumer_timeout(CONSUMER_TIMEOUT)
    wires.to_broker.reset()


FAULTS: Sequence[Fault] = (
    kill_server,
    kill_two_servers,
    kill_api,
    kill_relay,
    kill_audit,
    stop_any,
    freeze_server,
    freeze_other,
    kill_broker,
    restart_broker,
    kill_database,
    restart_database,
    drop_connections,
    lock_rows,
    slow_wire,
    hang_wire,
    break_wire,
    lose_wire,
    limit_queues,
    requeue_unacknowledged,
)


def draw_faults(seed: str, number: int) -> list[Fault]:
    """Return `number` faults from shuffled decks of all kinds, so that no kind repeats before all have been drawn."""
    chance = random.Random(f"{seed} faults")
    decks = [chance.sample(FAULTS, len(FAULTS)) for _ in range(0, number, len(FAULTS))]
    return [fault for deck in decks for fault in deck][:number]


def _kill(fleet: Fleet, chance: random.Random, name: str) -> None:
    fleet.daemons[name].kill()
    time.sleep(chance.uniform(0, 1))
    fleet.revive(name)


def _freeze(fleet: Fleet, chance: random.Random, name: str) -> None:
    fleet.daemons[name].send(signal.SIGSTOP)
    time.sleep(chance.uniform(*LONGER_THAN_A_LEASE))
    fleet.daemons[name].send(signal.SIGCONT)


def _wire(fleet: Fleet, chance: random.Random) -> Wire:
    """Choose the wire of one machine to one service; the other wires keep working."""
    return chance.choice([wire for wires in fleet.wires.values() for wire in wires])
