"""Two servers of one backend, of which one ends with operations in hand: when it is gone, and when the other has them.

The backend is slow (`slow_volume`). The repetitions end the server at times that are spread over a second, since the
other one looks about once a second.
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
# Seconds of a rename: where nothing is wrong, and where the server waits in vain.
USUAL, HANGING = 0.05, 60.0
# What a worker holds of a driver that it doesn't know yet: two operations for each call that it may have at once.
IN_HAND = 16
QUEUED = 600
GRACE_SECONDS = 2
LEASE_SECONDS = 3
AVAILABLE = "SELECT COUNT(*) FROM snapshots WHERE status = 'available'"
PAUSE_SECONDS = 0.1


def finished(world: World) -> dict[str, Any]:
    """SIGTERM with casts queued for both servers: what is in hand is finished, and nothing given back."""
    return _repeated(lambda rest: _finished(world, rest))


def given_back(world: World, casts: int = 0, at_once: int = 1) -> dict[str, Any]:
    """SIGTERM while calls hang: all is given back. The other is at rest, or has `casts` of its own meanwhile."""
    extra = f"[operations]\ngraceful_shutdown_timeout = {GRACE_SECONDS}"
    figures = _repeated(lambda rest: _left(world, Signals.SIGTERM, extra, rest, casts, at_once))
    return {"graceful_shutdown_timeout": GRACE_SECONDS, **figures}


def killed(world: World, casts: int = 0, at_once: int = 1) -> dict[str, Any]:
    """The same with SIGKILL: the other has to wait for the end of the lease."""
    extra = f"[operations]\nlease_seconds = {LEASE_SECONDS}"
    figures = _repeated(lambda rest: _left(world, Signals.SIGKILL, extra, rest, casts, at_once))
    return {"lease_seconds": LEASE_SECONDS, **figures}


def _repeated(once: Callable[[float], Mapping[str, float]]) -> dict[str, Any]:
    """Median and maximum of each figure; `once` is told how long to wait before the signal."""
    times = [once(number / REPEATS) for number in range(REPEATS)]
    seen = {name: [each[name] for each in times] for name in times[0]}
    return {name: {"median": machine.median(each), "max": round(max(each), 2)} for name, each in seen.items()}


def _finished(world: World, rest: float) -> dict[str, float]:
    with world.installation(f"driver = fake\nfake_snapshots = {QUEUED}") as app:
        casts = app.request(QUEUED)
        app.prepare_events()
        first, _ = (_start(app, number, USUAL) for number in (1, 2))
        app.queue(casts)
        until(lambda: app.counted(AVAILABLE) > 0, "the first to be available")
        time.sleep(rest)
        held, since = app.counted(_claimed_by(first)), time.monotonic()
        send(Signals.SIGTERM, [first])
        until(lambda: not app.alive("volume"), "the first server to end", 60)
        took = time.monotonic() - since
        until(lambda: app.counted(AVAILABLE) == QUEUED, "the rest to be available", 60)
        consume.check(app, QUEUED)  # each was claimed once, so none was given back
        return {"in_hand": held, "exit_s": took}


def _left(world: World, number: Signals, extra: str, rest: float, more: int, at_once: int) -> dict[str, float]:
    """The second server starts when the first has its hands full, so that it has none of this."""
    with world.installation(f"driver = fake\nfake_snapshots = {IN_HAND + more}", extra=extra) as app:
        casts = app.request(IN_HAND + more)
        app.prepare_events()
        first = _start(app, 1, HANGING)
        app.queue(casts[:IN_HAND])
        until(lambda: app.counted(_claimed_by(first)) == IN_HAND, "the first server to have its hands full")
        second = _start(app, 2, USUAL)
        time.sleep(rest)
        with _coming(app, casts[IN_HAND:], at_once):
            times = _times(app, number, first, second, casts[:IN_HAND])
        until(lambda: app.counted(AVAILABLE) == len(casts), "all to be available", 60)
        events = app.event_types()
        assert events == {"snapshot.manage.end": len(casts), "snapshot.manage.start": len(casts)}, events
        return times


def _start(app: Installation, number: int, seconds: float) -> int:
    """A server whose driver takes so many seconds for a rename; its process id."""
    return app.start("volume", number, [sys.executable, "-m", "benchmarks.slow_volume", str(seconds)])[0]


def _times(app: Installation, number: Signals, first: int, second: int, casts: Sequence[Message]) -> dict[str, float]:
    """Seconds until the first server has ended; and from when it gave back or died until the second has all."""
    signs: dict[str, Callable[[], bool]] = {
        "exit": lambda: not app.alive("volume"),
        "left": lambda: number is Signals.SIGKILL or app.counted(_claimed_by(first)) == 0,
        "taken": lambda: app.counted(_taken_by(second, casts)) == len(casts),
    }
    seen: dict[str, float] = {}
    since = time.monotonic()
    send(number, [first])

    def complete() -> bool:
        for name, sign in signs.items():
            if name not in seen and sign():
                seen[name] = time.monotonic() - since
        return len(seen) == len(signs)

    until(complete, "the second server to have it all", 60)
    return {"exit_s": seen["exit"], "taken_s": seen["taken"] - seen["left"]}


@contextmanager
def _coming(app: Installation, casts: Sequence[Message], at_once: int) -> Iterator[None]:
    """Casts that come one handful after the other, until all have."""

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


def _taken_by(pid: int, casts: Sequence[Message]) -> str:
    """Only it finishes any of them."""
    ids = ", ".join(f"'{cast.record_id}'" for cast in casts)
    return f"{_claimed_by(pid)} AND id IN ({ids}) OR status = 'available' AND id IN ({ids})"
