"""Casts that were queued beforehand, until the last snapshot is `available` and its `end` is on the wire."""

from typing import Any

from benchmarks import machine
from benchmarks.world import Meter, Site, World
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
        site.queue(casts)
        return _measure(world, site, len(casts), servers)


def _measure(world: World, site: Site, operations: int, servers: int) -> dict[str, Any]:
    pids = [site.start("volume", number)[0] for number in range(1, servers + 1)]
    meter = Meter(world, {"volume": pids})
    until(lambda: site.events() >= 2 * operations, "the last event", seconds=600)
    figures = meter.read(operations)
    figures["peak_mb"] = [machine.memory_mb(pid, "VmHWM") for pid in pids]
    check(site, operations)
    return figures


def check(site: Site, operations: int) -> None:
    """It counts only if it is exact."""
    available = site.counted("SELECT COUNT(*) FROM snapshots WHERE status = 'available' AND generation = 3")
    events = site.event_types()
    assert available >= operations, f"{available} are available"
    assert events == {"snapshot.manage.end": operations, "snapshot.manage.start": operations}, events
