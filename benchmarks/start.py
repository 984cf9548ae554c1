"""The time from the start of a process to its ready line, and its memory afterwards."""

import time
from typing import Any

from benchmarks import machine
from benchmarks.world import World

STARTS = 5
PAUSE_SECONDS = 1.0


def run(world: World) -> dict[str, Any]:
    with world.installation() as app:
        figures: dict[str, Any] = {}
        for main in ("volume", "api", "relay", "audit"):
            ready, memory = [], []
            for number in range(STARTS):
                started = time.perf_counter()
                pid, _ = app.start(main, number)
                ready.append(time.perf_counter() - started)
                time.sleep(PAUSE_SECONDS)
                memory.append(machine.memory_mb(pid))
                app.stop(main, number)
            figures[main] = {"ready_s": machine.median(ready), "memory_mb": machine.median(memory, 1)}
        return figures
