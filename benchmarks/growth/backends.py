"""One backend and a hundred backends in one server process."""

import time
from typing import Any

from benchmarks import consume, machine
from benchmarks.growth import cases
from benchmarks.world import Meter, World

BACKENDS = 100
IDLE_SECONDS = 5.0
# Time after which a process that has just started is idle.
CALM_SECONDS = 2.0


def measure(world: World, small: int, each: int) -> dict[str, Any]:
    """Compare `small` operations of one backend with `each` operations of each of many backends."""
    before = consume.run(world, small)
    large = consume.run(world, each * BACKENDS, backends=BACKENDS)
    after = consume.run(world, small)
    return cases.compare(before, large, after, operations=[small, each * BACKENDS])


def measure_idle(world: World) -> dict[str, Any]:
    """Compare the start of one backend and of many, and the processor time of an idle process."""
    small, large = _measure_idle(world, 1), _measure_idle(world, BACKENDS)
    return {"small": small, "large": large}


def _measure_idle(world: World, backends: int) -> dict[str, Any]:
    with world.installation("driver = fake\nfake_snapshots = 20", backends) as app:
        started = time.monotonic()
        pid, _ = app.start("volume")
        ready = time.monotonic() - started
        time.sleep(CALM_SECONDS)
        meter = Meter(world, {"volume": [pid]})
        time.sleep(IDLE_SECONDS)
        used = meter.read(1)
        return {
            "ready_s": round(ready, 2),
            "cpu_ms_each_second": {name: round(ms / used["seconds"], 1) for name, ms in used["cpu_ms"].items()},
            "statements_each_second": round(used["statements"] / used["seconds"], 1),
            "memory_mb": machine.memory_mb(pid),
        }
