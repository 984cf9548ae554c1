"""Two servers of one backend, one of which ends with claimed operations: the time of its exit and of the new claims.

The backend is slow (`slow_volume`). The repetitions end the server at times that are spread over a second, since the
other server scans about once a second.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from signal import Signals
from typing import Any

from benchmarks import consume, machine
from benchmarks.world import Installation, World
from snapmanage.core.outbox import Message
from snapmanage.testing.services.process import send
from snapmanage.testing.waiting import until

REPEATS = 5
# Seconds of a rename: of a healthy backend, and of a hanging one.
USUAL, HANGING = 0.05, 60.0
# The claims of a worker with a new driver: two operations for each simultaneous call.
CLAIMED = 16
QUEUED = 600
GRACE_SECONDS = 2
LEASE_SECONDS = 3
AVAILABLE = "SELECT COUNT(*) FROM snapshots WHERE status = 'available'"
PAUSE_SECONDS = 0.1


def measure_exit(world: World) -> dict[str, Any]:
    """Measure SIGTERM with casts queued for both servers: it must finish its operations and release no claim."""
    return _repeat(lambda delay: _measure_exit_once(world, delay))


def measure_release(world: World, casts: int = 0, at_once: int = 1) -> dict[str, Any]:
    """Measure SIGTERM while calls hang: the server releases all claims; the other is idle or receives `casts`."""
    extra = f"[operations]\ngraceful_shutdown_timeout = {GRACE_SECONDS}"
    figures = _repeat(lambda delay: _measure_takeover(world, Signals.SIGTERM, extra, delay, casts, at_once))
    return {"graceful_shutdown_timeout": GRACE_SECONDS, **figures}


def measure_expiry(world: World, casts: int = 0, at_once: int = 1) -> dict[str, Any]:
    """Like `released`, with SIGKILL: the other server has to wait until the leases expire."""
    extra = f"[operations]\nlease_seconds = {LEASE_SECONDS}"
    figures = _repeat(lambda delay: _measure_takeover(world, Signals.SIGKILL, extra, delay, casts, at_once))
    return {"lease_seconds": LEASE_SECONDS, **figures}


def _repeat(once: Callable[[float], Mapping[str, float]]) -> dict[str, Any]:
    """Return the median and the maximum of each figure; `once` receives the delay before the signal in seconds."""
    times = [once(number / REPEATS) for number in range(REPEATS)]
    seen = {name: [each[name] for each in times] for name in times[0]}
    return {name: {"median": machine.median(each), "max": round(max(each), 2)} for name, each in seen.items()}


def _measure_exit_once(world: World, delay: float) -> dict[str, float]:
    with world.installation(f"driver = fake\nfake_snapshots = {QUEUED}") as app:
        casts = app.request(QUEUED)
        app.prepare_events()
        first, _ = (_start(app, number, USUAL) for number in (1, 2))
        app.queue(casts)
        until(lambda: app.count(AVAILABLE) > 0, "the first snapshot to be available")
        time.sleep(delay)
        held, since = app.count(_claimed_by(first)), time.monotonic()
        send(Signals.SIGTERM, [first])
        until(lambda: not app.alive("volume"), "the first server to end", 60)
        exit_seconds = time.monotonic() - since
        until(lambda: app.count(AVAILABLE) == QUEUED, "all snapshots to be available", 60)
        consume.check(app, QUEUED)  # each was claimed once, so no claim was released
        return {"in_hand": held, "exit_s": exit_seconds}


def _measure_takeover(
    world: World, number: Signals, extra: str, delay: float, more: int, at_once: int
) -> dict[str, float]:
    """Measure the takeover; the second server starts once the first has claimed all operations of the measurement."""
    with world.installation(f"driver = fake\nfake_snapshots = {CLAIMED + more}", extra=extra) as app:
        casts = app.request(CLAIMED + more)
        app.prepare_events()
        first = _start(app, 1, HANGING)
        app.queue(casts[:CLAIMED])
        until(lambda: app.count(_claimed_by(first)) == CLAIMED, "the first server to claim its operations")
        second = _start(app, 2, USUAL)
        time.sleep(delay)
        with _queue_steadily(app, casts[CLAIMED:], at_once):
            times = _times(app, number, first, second, casts[:CLAIMED])
        until(lambda: app.count(AVAILABLE) == len(casts), "all snapshots to be available", 60)
        events = app.event_types()
        assert events == {"snapshot.manage.end": len(casts), "snapshot.manage.start": len(casts)}, events
        return times


def _start(app: Installation, number: int, seconds: float) -> int:
    """Start a server with a driver that needs `seconds` for a rename; return its process id."""
    return app.start("volume", number, [sys.executable, "-m", "benchmarks.slow_volume", str(seconds)])[0]


def _times(app: Installation, number: Signals, first: int, second: int, casts: Sequence[Message]) -> dict[str, float]:
    """Return the seconds until the first server's exit, and from its release or death until the new claims."""
    signs: dict[str, Callable[[], bool]] = {
        "exit": lambda: not app.alive("volume"),
        "released": lambda: number is Signals.SIGKILL or app.count(_claimed_by(first)) == 0,
        "claimed": lambda: app.count(_owned_by(second, casts)) == len(casts),
    }
    seen: dict[str, float] = {}
    since = time.monotonic()
    send(number, [first])

    def complete() -> bool:
        for name, sign in signs.items():
            if name not in seen and sign():
                seen[name] = time.monotonic() - since
        return len(seen) == len(signs)

    until(complete, "the second server to claim all operations", 60)
    return {"exit_s": seen["exit"], "taken_s": seen["claimed"] - seen["released"]}


@contextmanager
def _queue_steadily(app: Installation, casts: Sequence[Message], at_once: int) -> Iterator[None]:
    """Queue the casts in a thread, `at_once` at a time with a pause between them."""

    def cast() -> None:
        for start in range(0, len(casts), at_once):
            app.queue(casts[start:][:at_once])
            time.sleep(PAUSE_SECONDS)

    thread = threading.Thread(target=cast)
    thread.start()
    yield
    thread.join()


def _claimed_by(pid: int) -> str:
    return f"SELECT COUNT(*) FROM snapshots WHERE claimed_by LIKE '%:{pid}:%'"


def _owned_by(pid: int, casts: Sequence[Message]) -> str:
    """Return a query for the operations that the process has claimed or finished; no other process finishes any."""
    ids = ", ".join(f"'{cast.record_id}'" for cast in casts)
    return f"{_claimed_by(pid)} AND id IN ({ids}) OR status = 'available' AND id IN ({ids})"
