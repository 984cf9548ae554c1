"""A round of a storm: many requests are sent while random faults are injected, then the invariants are checked."""

import queue
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from snapmanage.testing.waiting import until
from tests.chaos.fleet import invariants
from tests.chaos.fleet.commands import check_commands
from tests.chaos.fleet.files import file_storage
from tests.chaos.fleet.fleet import Fleet
from tests.chaos.fleet.group import group_storage
from tests.chaos.fleet.storage import Maker
from tests.chaos.storm.clients import Client, tasks
from tests.chaos.storm.faults import draw_faults

# Two processes serve the first host.
HOSTS = ("storage-1/a", "storage-1/b", "storage-2", "storage-3", "storage-4")
CLIENTS = 8
IDLE_SECONDS = 180
SAMPLE_SECONDS = 0.1
# A lease, a scan and a back-off of the fleet, and 15 seconds for a busy machine.
GRACE_SECONDS = 1 + 0.2 + 1 + 15


@dataclass
class Report:
    """The figures of a round, and the violations that it found."""

    seed: str
    database: str
    driver: str
    max_attempts: int
    promises: int = 0
    events: int = 0
    seconds: float = 0.0
    recovery_seconds: float = 0.0
    overdue_seconds: float = 0.0
    deadlocks: int = 0
    attempts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    violations: Sequence[str] = ()

    def count(self, word: str) -> int:
        return sum(text.startswith(word) for text in self.violations)

    def __str__(self) -> str:
        found = {word.lower(): self.count(word) for word in ("LOST", "TWICE", "SWAPPED", "STUCK", "EVENTS")}
        lines = [
            f"seed {self.seed} on {self.database} and {self.driver}: {self.promises} promises, {self.events} events, "
            f"{self.seconds:.0f} s, idle {self.recovery_seconds:.1f} s after the last fault, "
            f"no operation due for more than {self.overdue_seconds:.1f} s of them; "
            f"{found}, {len(self.violations)} violations",
            f"at least {self.deadlocks} deadlocks; "
            f"at most {self.attempts} attempts of one operation, {self.max_attempts} allowed",
            f"{self.faults.total()} faults: "
            + ", ".join(f"{name} {times}" for name, times in sorted(self.faults.items())),
            "answers: " + ", ".join(f"{name} {times}" for name, times in sorted(self.answers.items())),
            *self.violations,
        ]
        return "\n    ".join(lines) + "\n"


def storage_of(driver: str, requests: int) -> Maker:
    """Return the maker of storages of a driver, with a snapshot for each request."""
    return {"file": file_storage, "lvm": group_storage(requests)}[driver]


def run_round(deployment: Fleet, seed: str, requests: int, faults: int) -> Report:
    """Run one round: send the requests in as many portions as there are faults, with one fault during each."""
    chance = random.Random(seed)
    [driver] = {type(each).__name__ for each in deployment.storages.values()}
    report = Report(seed, type(deployment.database).__name__, driver, deployment.max_attempts)
    queued: queue.Queue[Callable[[Client], None] | None] = queue.Queue()
    clients = [Client(deployment, queued, report.answers) for _ in range(CLIENTS)]
    deployment.await_saved_queues()
    started = time.monotonic()
    remaining = tasks(deployment, random.Random(f"{seed} tasks"), requests)
    for client in clients:
        client.start()
    counted = deployment.deadlocks()
    for number, fault in enumerate(draw_faults(seed, faults)):
        for _ in range(requests * (number + 1) // faults - requests * number // faults):
            queued.put(next(remaining))
        time.sleep(chance.uniform(0, 0.5))
        fault(deployment, random.Random(f"{seed} fault {number}"))
        report.faults[fault.__name__] += 1
        before, counted = counted, deployment.deadlocks()
        # A database that was started again counts from 0.
        report.deadlocks += counted - before if counted >= before else counted
    for _ in clients:
        queued.put(None)
    _recover(deployment, report, clients)
    report.seconds = time.monotonic() - started
    return report


def _recover(deployment: Fleet, report: Report, clients: Sequence[Client]) -> None:
    """Wait until all clients are answered and the deployment is idle; report the violations."""
    ended = time.monotonic()
    for name in deployment.daemons:
        deployment.revive(name)
    serving = time.monotonic()

    def is_over() -> bool:
        time.sleep(SAMPLE_SECONDS)
        overdue = min(invariants.longest_overdue(deployment.engine).total_seconds(), time.monotonic() - serving)
        report.overdue_seconds = max(report.overdue_seconds, overdue)
        return not any(client.is_busy for client in clients) and invariants.is_idle(deployment.engine)

    failures = []
    try:
        until(is_over, "all clients to be answered, and the deployment to be idle", IDLE_SECONDS)
        report.recovery_seconds = time.monotonic() - ended
        # Wait for the last events in the audit log; the report below has the violations.
        deployment.violations_after(30)
        check_commands(deployment)
    except AssertionError as failure:
        failures.append(str(failure))
    if report.overdue_seconds > GRACE_SECONDS:
        failures.append(f"STUCK: an operation was due for {report.overdue_seconds:.1f} s while all processes ran")
    for client in clients:
        client.join(0)
    failures += [client.failure for client in clients if client.failure]
    report.violations = [*deployment.violations_after(30), *invariants.quarantined(deployment.engine), *failures]
    report.attempts = deployment.count("SELECT max(attempt) FROM snapshots")
    report.promises = len(deployment.promises)
    report.events = len(invariants.observe(deployment.engine, []).audit)
