"""Measure the named servers; print one line of JSON for each."""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.clients import post_together
from benchmarks.front import application, attacks, servers
from snapmanage.testing.services.process import LOOPBACK, family, free_port, send
from snapmanage.testing.slow_clients import dripping

ATTACKERS = 1000
FEW_FILES = 128
MORE_CONNECTIONS = 140
POSTS = 1200


class Running:
    """A server that runs on a port, with its output in a file."""

    def __init__(self, name: str, folder: Path, files: int) -> None:
        self.port = free_port()
        self._errors = folder / "stderr"
        application.prepare(folder)
        started = time.perf_counter()
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.front.servers", name, str(self.port)],
                env=os.environ | {application.FOLDER: str(folder)},
                stdout=subprocess.DEVNULL,
                stderr=errors,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
            )
        while attacks.check_health(self.port) is None:
            if self.process.poll() is not None:
                raise SystemExit(f"{name} did not start:\n{self._errors.read_text()}")
            time.sleep(0.01)
        self.start_seconds = time.perf_counter() - started

    @property
    def logged_kb(self) -> float:
        return round(self._errors.stat().st_size / 1024, 1)

    def stop(self) -> None:
        send(signal.SIGKILL, family(self.process.pid))  # granian has a process below this one
        self.process.wait()


@contextmanager
def running(name: str, files: int = 20_000) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder:
        server = Running(name, Path(folder), files)
        try:
            yield server
        finally:
            server.stop()


def measure(name: str) -> dict[str, Any]:
    figures: dict[str, Any] = {"server": name}
    with running(name) as server:
        figures |= {"start_s": round(server.start_seconds, 2), "memory_mb": machine.memory_mb(server.process.pid)}
        figures["quiet"] = attacks.health(server.port)
        for clients in (1, 8, 64):
            figures[f"post_{clients}"] = _post(server, clients)
    figures |= _hold(name)
    with running(name) as server:
        figures["64_connects_unanswered"] = attacks.connect_together(server.port, 64)
        figures["slow_request_survives_sigterm"] = attacks.slow_answer_survives(server.port, server.process.pid)
    return figures


def _hold(name: str) -> dict[str, Any]:
    """Measure /healthcheck beside each attack."""
    figures: dict[str, Any] = {}
    with running(name) as server, attacks.held(server.port, ATTACKERS):
        figures["silent"] = attacks.health(server.port) | {"memory_mb": machine.memory_mb(server.process.pid)}
    with (
        running(name) as server,
        attacks.held(server.port, ATTACKERS, attacks.HALF_A_HEAD) as clients,
        dripping(clients, b"X: x\r\n", interval_seconds=1),
    ):
        figures["dripping"] = attacks.health(server.port)
    with running(name) as server, attacks.held(server.port, 64, attacks.HALF_A_BODY):
        figures["half_bodies"] = attacks.health(server.port)
    with running(name) as server, attacks.held(server.port, 64, attacks.LARGE, buffer=4096):
        time.sleep(1)
        figures["unread_answers"] = attacks.health(server.port) | {"memory_mb": machine.memory_mb(server.process.pid)}
    with running(name, FEW_FILES) as server, attacks.held(server.port, MORE_CONNECTIONS):
        figures["few_files"] = attacks.health(server.port, 5) | {"logged_kb": server.logged_kb}
    return figures


def _post(server: Running, clients: int) -> dict[str, Any]:
    before = machine.cpu_seconds([server.process.pid])
    address = f"{LOOPBACK}:{server.port}"
    seconds, took = post_together(address, clients, POSTS // clients, application.VOLUME_ID, f"with-{clients}")
    cpu = machine.cpu_seconds([server.process.pid]) - before
    return {
        "per_second": round(len(took) / seconds),
        "cpu_ms": round(1000 * cpu / len(took), 2),
        "p50_ms": machine.quantile_ms(took, 0.5),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front", description=__doc__)
    parser.add_argument("server", nargs="*", help=f"one of {', '.join(servers.NAMES)}; default: all")
    names = parser.parse_args(arguments).server
    for name in names:
        if name not in servers.NAMES:
            parser.error(f"{name!r} is no server; choose from {', '.join(servers.NAMES)}")
    for name in names or servers.NAMES:
        print(json.dumps(measure(name)), flush=True)


if __name__ == "__main__":
    main()
