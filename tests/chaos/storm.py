"""Random chaos, by a seed: a round asks for many snapshots while blows fall, and then looks whether all is well.

`make chaos SEED=1 ROUNDS=3` runs rounds by hand and prints their figures; a short round is among the tests.
"""

import argparse
import queue
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.process import running, scratch
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.chaos import invariants
from tests.chaos.blows import deal
from tests.chaos.clients import Client, tasks
from tests.chaos.fleet import Databases, Fleet, fleet

# Two processes serve the first.
HOSTS = ("storage-1/a", "storage-1/b", "storage-2", "storage-3", "storage-4")
CLIENTS = 8
REST_SECONDS = 180
# Two rounds with as many as by default, two with so many that nothing is given up.
ATTEMPTS = (5, 50)
SAMPLE_SECONDS = 0.1
# A lease, a scan and a back-off, as the fleet's are, and 15 seconds for a machine that does other things as well.
GRACE_SECONDS = 1 + 0.2 + 1 + 15


@dataclass
class Report:
    """What a round did, and what it found."""

    seed: str
    database: str
    max_attempts: int
    promises: int = 0
    events: int = 0
    seconds: float = 0.0
    recovery_seconds: float = 0.0
    late_seconds: float = 0.0
    deadlocks: int = 0
    attempts: int = 0
    blows: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    violations: Sequence[str] = ()

    def count(self, word: str) -> int:
        return sum(text.startswith(word) for text in self.violations)

    def __str__(self) -> str:
        found = {word.lower(): self.count(word) for word in ("LOST", "TWICE", "SWAPPED", "STUCK", "EVENTS")}
        lines = [
            f"seed {self.seed} on {self.database}: {self.promises} promises, {self.events} events, "
            f"{self.seconds:.0f} s, at rest {self.recovery_seconds:.1f} s after the last blow, "
            f"nothing due for more than {self.late_seconds:.1f} s of them; "
            f"{found}, {len(self.violations)} violations",
            f"{self.deadlocks} deadlocks at least; "
            f"{self.attempts} attempts of one operation at most, {self.max_attempts} allowed",
            f"{self.blows.total()} blows: "
            + ", ".join(f"{name} {times}" for name, times in sorted(self.blows.items())),
            "answers: " + ", ".join(f"{name} {times}" for name, times in sorted(self.answers.items())),
            *self.violations,
        ]
        return "\n    ".join(lines) + "\n"


def blow_over(hurt: Fleet, seed: str, requests: int, blows: int) -> Report:
    """One round: requests are let go in as many portions as there are blows, each with one falling on it."""
    chance = random.Random(seed)
    report = Report(seed, type(hurt.database).__name__, hurt.max_attempts)
    waiting: queue.Queue[Callable[[Client], None] | None] = queue.Queue()
    clients = [Client(hurt, waiting, report.answers) for _ in range(CLIENTS)]
    until(lambda: all(hurt.broker.remembers(name) for name in hurt.queues), "the broker to keep its queues", 60)
    started = time.monotonic()
    asked = tasks(hurt, random.Random(f"{seed} tasks"), requests)
    for client in clients:
        client.start()
    counted = hurt.deadlocks()
    for number, blow in enumerate(deal(seed, blows)):
        for _ in range(requests * (number + 1) // blows - requests * number // blows):
            waiting.put(next(asked))
        time.sleep(chance.uniform(0, 0.5))
        blow(hurt, random.Random(f"{seed} blow {number}"))
        report.blows[blow.__name__] += 1
        before, counted = counted, hurt.deadlocks()
        report.deadlocks += counted - before if counted >= before else counted  # it counts anew when it's started
    for _ in clients:
        waiting.put(None)
    _calm(hurt, report, clients)
    report.seconds = time.monotonic() - started
    return report


def _calm(hurt: Fleet, report: Report, clients: Sequence[Client]) -> None:
    """Nothing falls any more: wait until all is answered and at rest, and look."""
    ended = time.monotonic()
    for name in hurt.daemons:
        hurt.revive(name)
    serving = time.monotonic()

    def rests() -> bool:
        time.sleep(SAMPLE_SECONDS)
        late = min(invariants.lateness(hurt.engine).total_seconds(), time.monotonic() - serving)
        report.late_seconds = max(report.late_seconds, late)
        return not any(client.waits for client in clients) and invariants.at_rest(hurt.engine)

    failures = []
    try:
        until(rests, "all clients to be answered, and the deployment to come to rest", REST_SECONDS)
        report.recovery_seconds = time.monotonic() - ended
        hurt.broken_in_the_end(30)  # wait for the last events in the audit log; the report below has the violations
        hurt.check_commands()
    except AssertionError as failure:
        failures.append(str(failure))
    if report.late_seconds > GRACE_SECONDS:
        failures.append(f"STUCK: an operation was due for {report.late_seconds:.1f} s while all was up")
    for client in clients:
        client.join(0)
    failures += [client.failure for client in clients if client.failure]
    report.violations = [*hurt.broken_in_the_end(30), *invariants.put_aside(hurt.engine), *failures]
    report.attempts = hurt.count("SELECT max(attempt) FROM snapshots")
    report.promises = len(hurt.promises)
    report.events = len(invariants.observe(hurt.engine, []).audit)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--blows", type=int, default=30)
    given = parser.parse_args()
    failed = 0
    with ExitStack() as stack:
        broker = stack.enter_context(running(RabbitMQ))
        databases: list[Databases] = [stack.enter_context(running(MariaDB)), stack.enter_context(running(PostgreSQL))]
        for number in range(given.rounds):
            attempts = ATTEMPTS[number // 2 % 2]
            seed = f"{given.seed}.{number}"
            report = _round(broker, databases[number % 2], seed, given.requests, given.blows, attempts)
            sys.stdout.write(str(report))
            sys.stdout.flush()
            failed += bool(report.violations)
    return min(failed, 1)


def _round(broker: RabbitMQ, database: Databases, seed: str, requests: int, blows: int, max_attempts: int) -> Report:
    """In a folder of its own, which is kept when something was found."""
    with scratch() as folder, fleet(folder, broker, database, HOSTS, max_attempts=max_attempts) as hurt:
        report = blow_over(hurt, seed, requests, blows)
        if report.violations:
            keep = Path(f"chaos-{seed}")
            keep.mkdir(exist_ok=True)
            for log in folder.glob("*.log"):
                (keep / log.name).write_bytes(log.read_bytes())
        return report


if __name__ == "__main__":
    sys.exit(main())
