"""What is done to a deployment in a storm: each blow hurts it in one way, for a moment, and lets go.

Which blows fall, where and for how long, is drawn from the storm's own source of chance alone, so that
a seed gives the same storm again.
"""

import json
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import sqlalchemy as sa

from snapmanage.testing.services.rabbitmq import CONSUMER_TIMEOUT
from tests.chaos.fleet import Fleet
from tests.services.wire import Wire

Blow = Callable[[Fleet, random.Random], None]

# A lease is one second.
LONGER_THAN_A_LEASE = (1.2, 3.0)


def kill_server(fleet: Fleet, chance: random.Random) -> None:
    _kill(fleet, chance, chance.choice(fleet.servers))


def kill_two_servers(fleet: Fleet, chance: random.Random) -> None:
    """At the same moment."""
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
    """SIGTERM, as an upgrade does."""
    name = chance.choice(list(fleet.daemons))
    fleet.daemons[name].send(signal.SIGTERM)
    time.sleep(chance.uniform(0, 0.5))
    fleet.daemons[name].ended()
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
    """An administrator ends sessions of the database, in whatever they are."""
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
    """Lock what is under way one by one, backwards, again and again: whoever locks forwards meets a deadlock."""
    under_way = sa.text("SELECT id FROM snapshots WHERE status IN ('creating', 'unmanaging') ORDER BY id DESC")
    lock = sa.text("SELECT id FROM snapshots WHERE id = :id FOR UPDATE")
    deadline = time.monotonic() + chance.uniform(1, 2)
    while time.monotonic() < deadline:
        with suppress(sa.exc.DBAPIError), fleet.engine.begin() as conn:
            for snapshot_id in conn.execute(under_way).scalars().all():
                conn.execute(lock, {"id": snapshot_id})
                time.sleep(0.02)
                if time.monotonic() > deadline:
                    break
        time.sleep(0.02)


def slow_wire(fleet: Fleet, chance: random.Random) -> None:
    wire = _wire(fleet, chance)
    wire.slow(chance.uniform(0.01, 0.2))
    time.sleep(chance.uniform(1, 3))
    wire.mend()


def hang_wire(fleet: Fleet, chance: random.Random) -> None:
    """Nothing passes, longer than a lease; then what was sent arrives late."""
    wire = _wire(fleet, chance)
    wire.hang()
    time.sleep(chance.uniform(1.2, 4))
    wire.mend()


def break_wire(fleet: Fleet, chance: random.Random) -> None:
    _wire(fleet, chance).reset()


def lose_wire(fleet: Fleet, chance: random.Random) -> None:
    """Connections become half open: neither side hears of it until it gives up; then they are reset."""
    wire = _wire(fleet, chance)
    wire.freeze()
    time.sleep(chance.uniform(1.2, 4))
    wire.reset()


def limit_queues(fleet: Fleet, chance: random.Random) -> None:
    """A policy drops nearly everything from the queues: what is returned once, what waits, and what is too much."""
    pattern = rf"^(snapmanage-audit\.)?{fleet.exchange}"
    limits = {"delivery-limit": 1, "message-ttl": 50, "max-length": 20, "overflow": "drop-head"}
    fleet.broker.control("set_policy", fleet.exchange, pattern, json.dumps(limits), "--apply-to", "queues")
    chance.choice([wires.to_broker for wires in fleet.wires.values()]).reset()
    time.sleep(chance.uniform(0.5, 1.5))
    fleet.broker.control("clear_policy", fleet.exchange)


def lose_patience(fleet: Fleet, chance: random.Random) -> None:
    """The broker takes back what isn't acknowledged within a moment, while the database hangs."""
    wires = chance.choice(list(fleet.wires.values()))
    fleet.broker.set_consumer_timeout(200)
    wires.to_broker.reset()
    wires.to_database.hang()
    time.sleep(chance.uniform(1.2, 3))
    wires.to_database.mend()
    fleet.broker.set_consumer_timeout(CONSUMER_TIMEOUT)
    wires.to_broker.reset()


# The kinds of them.
BLOWS: Sequence[Blow] = (
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
    lose_patience,
)


def deal(seed: str, number: int) -> list[Blow]:
    """As many as that, from shuffled decks of all kinds: each comes before any comes again."""
    chance = random.Random(f"{seed} blows")
    decks = [chance.sample(BLOWS, len(BLOWS)) for _ in range(0, number, len(BLOWS))]
    return [blow for deck in decks for blow in deck][:number]


def _kill(fleet: Fleet, chance: random.Random, name: str) -> None:
    fleet.daemons[name].kill()
    time.sleep(chance.uniform(0, 1))
    fleet.revive(name)


def _freeze(fleet: Fleet, chance: random.Random, name: str) -> None:
    fleet.daemons[name].send(signal.SIGSTOP)
    time.sleep(chance.uniform(*LONGER_THAN_A_LEASE))
    fleet.daemons[name].send(signal.SIGCONT)


def _wire(fleet: Fleet, chance: random.Random) -> Wire:
    """That of one machine to one service, while the others go on."""
    return chance.choice([wire for wires in fleet.wires.values() for wire in wires])
