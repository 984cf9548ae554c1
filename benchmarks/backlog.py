"""A long queue at the start of a server: the peak of its memory, and its speed at the start and at the end."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import consume, machine
from benchmarks.world import Installation, Meter, World
from snapmanage.core.outbox import Message

OPERATIONS = 100_000
LONGEST_SECONDS = 1800
Sample = tuple[float, int]


def measure_own_casts(world: World, operations: int = OPERATIONS) -> dict[str, Any]:
    """Measure casts of snapmanage's own API, which have records."""
    return _run(world, operations, lambda app: app.request(operations))


def measure_described_casts(world: World, operations: int = OPERATIONS) -> dict[str, Any]:
    """Measure casts of an upstream API, for which the server writes the records."""
    return _run(world, operations, lambda app: app.describe(operations))


def _run(world: World, operations: int, make_casts: Callable[[Installation], Sequence[Message]]) -> dict[str, Any]:
    with world.installation(f"driver = fake\nfake_snapshots = {operations}") as app:
        casts = make_casts(app)
        app.prepare_events()
        app.prepare_servers()
        app.queue(casts)
        pid, _ = app.start("volume")
        meter = Meter(world, {"volume": [pid]})
        memory = {"ready_mb": machine.memory_mb(pid)}  # includes the fake backend with all its snapshots
        samples = list(_samples(app, operations))
        figures = meter.read(operations) | _rates(samples) | memory
        figures["peak_mb"] = machine.memory_mb(pid, "VmHWM")
        consume.check(app, operations)
        return figures


def _samples(app: Installation, operations: int) -> Iterator[Sample]:
    """Yield the seconds and the number of finished operations, until all are finished and the outbox is empty."""
    started = time.monotonic()
    done = 0
    yield 0.0, done
    while done < operations or app.count("SELECT COUNT(*) FROM outbox") > 0:
        time.sleep(0.2)
        done, seconds = app.events() // 2, time.monotonic() - started
        assert seconds < LONGEST_SECONDS, f"only {done} operations are finished"
        yield seconds, done


def _rates(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the operations per second of the first tenth and of the last tenth of all operations."""
    total = samples[-1][1]
    early = next(sample for sample in samples if sample[1] >= total / 10)
    late = [sample for sample in samples if sample[1] < 9 * total / 10][-1]
    end = next(sample for sample in samples if sample[1] == total)
    return {"first_per_second": _rate(samples[0], early), "last_per_second": _rate(late, end)}


def _rate(start: Sample, end: Sample) -> float:
    return round((end[1] - start[1]) / (end[0] - start[0]), 1)
