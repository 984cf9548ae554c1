"""snapmanage-api as a process, on SQLite; a health check needs no broker."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.process import free_port
from tests.functional.databases import sqlite

PROGRAM = str(Path(sys.executable).parent / "snapmanage-api")
NO_BROKER = "rabbit://guest:guest@127.0.0.1:1/"


@dataclass(frozen=True)
class Api:
    """A running snapmanage-api."""

    address: str
    daemon: Daemon

    @property
    def log(self) -> str:
        return self.daemon.log.read_text()

    @property
    def peak_bytes(self) -> int:
        """Return the most memory that the process has had until now."""
        status = Path(f"/proc/{self.daemon.pid}/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


@contextmanager
def running_api(
    folder: Path, workers: int = 1, files: int | None = None, options: str = "", broker_url: str = NO_BROKER
) -> Iterator[Api]:
    """Run it with `workers` processes, each with a limit of open files."""
    address = f"127.0.0.1:{free_port()}"
    settings = folder / "snapmanage.conf"
    settings.write_text(
        f"[DEFAULT]\ntransport_url = {broker_url}\n[database]\nconnection = {sqlite(folder)}\n"
        f"[api]\nlisten = {address}\nworkers = {workers}\n{options}"
    )
    limited = [] if files is None else ["prlimit", f"--nofile={files}:{files}"]
    daemon = Daemon("api", [*limited, PROGRAM, "--config-file", str(settings)], folder / "stderr")
    try:
        for _ in range(workers):
            daemon.await_ready() if daemon.alive else daemon.start()
        yield Api(address, daemon)
    finally:
        daemon.close()
