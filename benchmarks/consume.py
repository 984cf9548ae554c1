"""Queued casts, from the first delivery until all snapshots are `available` and all events are on the wire."""

import signal
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import machine
from benchmarks.world import Installation, Meter, World
from snapmanage.core.outbox import Message
from snapmanage.testing.services.process import send
from snapmanage.testing.waiting import until

OPERATIONS = 5000
AVAILABLE = "SELECT COUNT(*) FROM snapshots WHERE status = 'available' AND generation = 2 AND server LIKE 'storage-%'"
UNSENT = "SELECT COUNT(*) FROM outbox WHERE due_at < '2099-01-01' AND kind = 'notification'"


def start_server(app: Installation, number: int) -> int:
    """Start a server of all backends; return its process id."""
    return app.start("volume", number)[0]


def run(
    world: World,
    operations: int = OPERATIONS,
    servers: int = 1,
    backends: int = 1,
    history: int = 0,
    entries: int = 0,
    start: Callable[[Installation, int], int] = start_server,
) -> dict[str, Any]:
    """Measure `servers` processes, with `history` older rows, and `entries` on each backend if these are more."""
    each = max(entries, operations // backends)
    with world.installation(f"driver = fake\nfake_snapshots = {each}", backends) as app:
        casts = app.request(operations)
        if history:
            app.age(history)
        app.prepare_events()
        pids = [start(app, number) for number in range(1, servers + 1)]
        return _measure(world, app, casts, pids)


def _measure(world: World, app: Installation, casts: Sequence[Message], pids: Sequence[int]) -> dict[str, Any]:
    """Measure from the moment at which the servers continue; they are stopped while the casts are queued."""
    send(signal.SIGSTOP, pids)
    app.queue(casts)
    meter = Meter(world, {"volume": pids})
    send(signal.SIGCONT, pids)
    until(lambda: app.events() >= 2 * len(casts), "the last event", seconds=600)
    # Relays of slow processes send some events twice, so the number of events alone is no end.
    until(lambda: app.count(AVAILABLE) >= len(casts), "the last snapshot to be available", seconds=60)
    until(lambda: app.count(UNSENT) == 0, "the outbox to have no event", seconds=60)
    figures = meter.read(len(casts))
    figures["events"] = app.events()
    figures["peak_mb"] = [machine.memory_mb(pid, "VmHWM") for pid in pids]
    check(app, len(casts))
    return figures


def check(app: Installation, operations: int) -> None:
    """Fail unless each operation succeeded once, with one start and one end."""
    available = app.count(AVAILABLE)
    events = app.event_types()
    assert available >= operations, f"{available} are available"
    assert events == {"snapshot.manage.end": operations, "snapshot.manage.start": operations}, events
