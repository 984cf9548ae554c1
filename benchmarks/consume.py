"""Casts that were queued beforehand, until the last snapshot is `available` and its `end` is on the wire."""

import signal
from collections.abc import Sequence
from typing import Any

from benchmarks import machine
from benchmarks.world import Meter, Site, World
from snapmanage.core.outbox import Message
from tests.services.process import send
from tests.waiting import until

OPERATIONS = 5000


def run(
    world: World, operations: int = OPERATIONS, servers: int = 1, backends: int = 1, history: int = 0
) -> dict[str, Any]:
    """Figures of `servers` processes that all serve the same `backends`, beside `history` older rows."""
    with world.site(f"driver = fake\nfake_snapshots = {operations // backends}", backends) as site:
        casts = site.request(operations)
        if history:
            site.age(history)
        site.prepare_events()
        return _measure(world, site, casts, servers)


def _measure(world: World, site: Site, casts: Sequence[Message], servers: int) -> dict[str, Any]:
    """The servers stand still while the casts are queued, so that the clock starts when they begin."""
    pids = [site.start("volume", number)[0] for number in range(1, servers + 1)]
    send(signal.SIGSTOP, pids)
    site.queue(casts)
    meter = Meter(world, {"volume": pids})
    send(signal.SIGCONT, pids)
    until(lambda: site.events() >= 2 * len(casts), "the last event", seconds=600)
    figures = meter.read(len(casts))
    figures["peak_mb"] = [machine.memory_mb(pid, "VmHWM") for pid in pids]
    check(site, len(casts))
    return figures


def check(site: Site, operations: int) -> None:
    """It counts only if it is exact."""
    available = site.counted("SELECT COUNT(*) FROM snapshots WHERE status = 'available' AND generation = 3")
    events = site.event_types()
    assert available >= operations, f"{available} are available"
    assert events == {"snapshot.manage.end": operations, "snapshot.manage.start": operations}, events
