"""Random faults by a seed: rounds that send many requests while faults are injected, then check the invariants.

`make chaos SEED=1 ROUNDS=3` runs rounds by hand and prints their figures; the tests include a short round.
"""

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.process import running, scratch
from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.chaos.fleet.fleet import Databases, fleet
from tests.chaos.storm.rounds import HOSTS, Report, run_round, storage_of

# The driver of the rounds on each database: half of them on LVM, which needs root and the package lvm2.
DRIVERS = ("file", "lvm", "lvm", "file")
# Two rounds with the default number of attempts, then two with so many that no operation runs out of them.
ATTEMPTS = (5, 50)


def main() -> int:
    options = _options()
    failed = 0
    with ExitStack() as stack:
        broker = stack.enter_context(running(RabbitMQ))
        databases: list[Databases] = [stack.enter_context(running(MariaDB)), stack.enter_context(running(PostgreSQL))]
        for number in range(options.rounds):
            report = _round(broker, databases[number % 2], number, options)
            sys.stdout.write(str(report))
            sys.stdout.flush()
            failed += bool(report.violations)
    return min(failed, 1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--driver", choices=sorted(set(DRIVERS)), help="of every round; otherwise they take turns")
    return parser.parse_args()


def _round(broker: RabbitMQ, database: Databases, number: int, options: argparse.Namespace) -> Report:
    """Run a round in a folder of its own; keep the logs if the round found a violation."""
    seed, attempts = f"{options.seed}.{number}", ATTEMPTS[number // 2 % 2]
    storage = storage_of(options.driver or DRIVERS[number % len(DRIVERS)], options.requests)
    with scratch() as folder, fleet(folder, broker, database, HOSTS, (), attempts, storage) as deployment:
        report = run_round(deployment, seed, options.requests, options.faults)
        if report.violations:
            keep = Path(f"chaos-{seed}")
            keep.mkdir(exist_ok=True)
            for log in folder.glob("*.log"):
                (keep / log.name).write_bytes(log.read_bytes())
        return report


if __name__ == "__main__":
    sys.exit(main())
