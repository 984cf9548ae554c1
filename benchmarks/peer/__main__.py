"""`make bench-peer`: Cinder and snapmanage side by side, on the same broker and the same database server.

Both have a driver that answers at once. In each round, Cinder carries out its operations, then snapmanage with one
server process and with two, then an RPC server of oslo.messaging with an empty endpoint receives as many casts.
"""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import snapmanage.cmd  # noqa: F401 - selects threads before the first import of oslo.messaging
from benchmarks import consume, floors, machine
from benchmarks.peer import cinder, table
from benchmarks.world import World, world
from snapmanage.testing import needs
from snapmanage.testing.services import mariadb, rabbitmq

PYTHON = Path(".venv-peer/bin/python")
Measure = Callable[[], Mapping[str, Any]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peer", description=__doc__)
    parser.add_argument(
        "--python", type=Path, default=Path(".venv-peer/bin/python"), help="the interpreter with Cinder"
    )
    parser.add_argument("--cinder", type=int, default=300, help="number of Cinder's operations in a round")
    parser.add_argument("--operations", type=int, default=consume.OPERATIONS, help="number of snapmanage's operations")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--output", type=Path, help="file to which the lines are written")
    options = parser.parse_args(arguments)
    try:
        known = cinder.version(options.python.absolute())
        _require_services()
        print(table.render(list(_measure(options, known))), end="")
    except (cinder.Missing, AssertionError) as failure:
        raise SystemExit(f"bench-peer: {failure}") from failure


def _require_services() -> None:
    missing = [name for name in (*rabbitmq.PROGRAMS, *mariadb.PROGRAMS) if needs.program(name) is None]
    if missing:
        raise cinder.Missing(f"this machine lacks {', '.join(missing)}: install the packages of bindep.txt")


def _measure(options: argparse.Namespace, known: str) -> Iterator[dict[str, Any]]:
    """Yield a line of results for each measurement, after it is printed and written to the file."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that the services are stopped
    lines = []
    with world() as services:
        for name, measure in _plan(services, options):
            lines.append({"benchmark": name, "cinder": known, "figures": measure(), "load": machine.load()})
            lines[-1] |= {"machine": machine.description()}
            print(json.dumps(lines[-1]), flush=True)
            if options.output:
                options.output.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
            yield lines[-1]


def _plan(services: World, options: argparse.Namespace) -> list[tuple[str, Measure]]:
    """Return the measurements in their order, by name."""
    python = options.python.absolute()
    round_: list[tuple[str, Measure]] = [
        ("cinder", lambda: cinder.run(services, python, options.cinder)),
        ("one server", lambda: consume.run(services, options.operations)),
        ("two servers", lambda: consume.run(services, options.operations, servers=2)),
        ("empty server", lambda: floors.in_process("oslo_server", services.rabbitmq.url)),
    ]
    return [measure for _ in range(options.rounds) for measure in round_]


if __name__ == "__main__":
    main()
