"""A running `snapmanage standalone` on a folder of images, and the commands of its clients."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import requests

from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.deployment import PROJECT
from snapmanage.testing.services.process import unique
from snapmanage.testing.waiting import until
from tests.services import client_programs

BIN = Path(sys.executable).parent
HOST = "localhost@files"
SNAPSHOTS = ("daily", "monthly", "weekly")


class Service:
    """The running service, and the folder that is its backend."""

    def __init__(self, folder: Path) -> None:
        self.images = folder / "backend"
        self.images.mkdir()
        command = [str(BIN / "snapmanage"), "standalone", "--data-dir", str(folder), "--listen", "127.0.0.1:0"]
        self.daemon = Daemon("standalone", command, folder / "standalone.log")
        self.url = self.daemon.start().split()[1]
        self.endpoint = f"{self.url}/{PROJECT}"

    def add_volume(self) -> str:
        """Create an image with three snapshots, and return its name."""
        name = unique("disk")
        for file in (name, *(f"{name}@{word}" for word in SNAPSHOTS)):
            (self.images / file).write_bytes(b"data")
        return name

    def names(self, volume: str) -> set[str]:
        return {file.name.partition("@")[2] for file in self.images.glob(f"{volume}@*")}


def await_available(status: Callable[[], str], name: str) -> None:
    until(lambda: status() == "available", f"{name} to be available")


def status(service: Service, path: str) -> str:
    """Return the status of a record without a client, since each command of a client takes a second."""
    answer = requests.get(f"{service.endpoint}/{path}", timeout=30)
    return "gone" if answer.status_code == 404 else str(next(iter(answer.json().values()))["status"])


def run_command(program: str, *arguments: str, environment: Mapping[str, str], is_warm: bool = True) -> str:
    """Run a client's command and return its output; fail with its error output unless it succeeds.

    Its process is warm if another test starts the program in a new interpreter.
    """
    known = {"PATH": os.defpath, "HOME": "/dev/null", "PYTHONWARNINGS": "ignore"} | dict(environment)
    if is_warm:
        ended = client_programs.run(program, *arguments, environment=known)
    else:
        ended = subprocess.run([BIN / program, *arguments], env=known, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{program} {arguments}: {ended.stderr}"
    return ended.stdout
