"""`make bench`: run all benchmarks, or those with names that begin with an argument; long ones only if named.

Each prints one line of JSON with its figures and the machine; `--output FILE` keeps the lines.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import snapmanage.cmd  # noqa: F401 - selects threads before the first import of oslo.messaging
from benchmarks import adopt, backlog, consume, floors, growth, listing, machine, post, relay, start, takeover
from benchmarks.storage import measure, table
from benchmarks.storage.backends import MAKERS
from benchmarks.world import World, world

BENCHMARKS: Mapping[str, Callable[[World], dict[str, Any]]] = {
    "consume": consume.run,
    "consume.again": consume.run,
    "post.alone": post.measure_one_client,
    "post.8": partial(post.measure_many_clients, clients=8, served=False),
    "post.8.workers": partial(post.measure_many_clients, clients=8, served=False, workers=2),
    "post.64": partial(post.measure_many_clients, clients=64, served=False),
    "post.8.served": partial(post.measure_many_clients, clients=8, served=True),
    "post.batch": post.measure_batches,
    "post.batch.sqlite": partial(post.measure_batches, in_sqlite=True),
    "adopt": adopt.run,
    "list": listing.measure_large_backend,
    "list.lvm": listing.measure_lvm,
    "start": start.run,
    "relay": relay.run,
    **{f"servers.{count}": partial(consume.run, servers=count) for count in (2, 4)},
    "takeover.finished": takeover.measure_exit,
    "takeover.released": takeover.measure_release,
    "takeover.released.steady": partial(takeover.measure_release, casts=200, at_once=5),
    "takeover.released.queued": partial(takeover.measure_release, casts=1000, at_once=1000),
    "takeover.killed": takeover.measure_expiry,
    "takeover.killed.steady": partial(takeover.measure_expiry, casts=300, at_once=5),
}
# Benchmarks that run only if named; `--casts` sets the number of their casts.
LONG = {
    "backlog.own": backlog.measure_own_casts,
    "backlog.described": backlog.measure_described_casts,
}
# Benchmarks on real storage, which run only if named too.
STORAGE: Mapping[str, Callable[[World], dict[str, Any]]] = {
    **{f"storage.{name}": partial(measure.run, name=name) for name in MAKERS},
    "storage.lvm.large": partial(measure.run, name="lvm", large=True),
}
# For each benchmark, the floor that it is compared with, and the figure of both for the ratio.
RATIOS: Mapping[str, tuple[str, str]] = {
    "consume": ("oslo_server", "per_second"),
    "servers": ("oslo_server", "per_second"),
    "backlog": ("oslo_server", "per_second"),
    "relay": ("confirmed", "per_second"),
    "post": ("commits", "per_second"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", default=[""], help="benchmarks to run; all but the long ones by default")
    parser.add_argument("--casts", type=int, default=backlog.OPERATIONS, help="number of casts in a backlog")
    parser.add_argument("--output", type=Path, help="file to which the lines are written")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that the services are stopped
    lines = []
    with world() as services:
        for line in _run(services, arguments.names, arguments.casts):
            lines.append(line)
            print(json.dumps(line), flush=True)
            if arguments.output:
                arguments.output.write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    print(growth.render(lines) + table.render(lines), end="")


def _run(services: World, names: list[str], casts: int) -> Iterator[dict[str, Any]]:
    selected, known = _select(names, casts), {}
    if selected.keys() - STORAGE.keys() - growth.BENCHMARKS.keys():  # these compare within their own run
        started = time.monotonic()
        known = floors.run(services)
        yield _line("floors", known, started)
    for name, benchmark in selected.items():
        started = time.monotonic()
        figures = benchmark(services)
        yield _line(name, figures | _ratio(name, figures, known), started)


def _select(names: list[str], casts: int) -> dict[str, Callable[[World], dict[str, Any]]]:
    """Return the benchmarks whose names begin with one of `names`."""
    usual = {name: run for name, run in BENCHMARKS.items() if any(name.startswith(prefix) for prefix in names)}
    long: dict[str, Callable[[World], dict[str, Any]]]
    long = {**{name: partial(run, operations=casts) for name, run in LONG.items()}, **growth.BENCHMARKS, **STORAGE}
    return usual | {name: run for name, run in long.items() if any(each and name.startswith(each) for each in names)}


def _ratio(name: str, figures: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    floor, figure = RATIOS.get(name.partition(".")[0], ("", ""))
    if figure not in figures:
        return {}
    return {"floor": floor, "ratio": round(figures[figure] / known[floor][figure], 2)}


def _line(name: str, figures: Mapping[str, Any], started: float) -> dict[str, Any]:
    took = round(time.monotonic() - started, 1)
    return {
        "benchmark": name,
        "figures": figures,
        "took_seconds": took,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load": machine.load(),
        "machine": machine.description(),
    }


if __name__ == "__main__":
    main()
