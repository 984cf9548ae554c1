"""The client program, killed again and again while it works on one plan."""

import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.waiting import until

LONGEST_SECONDS = 1200
# A request of the client takes some of these seconds, so a kill hits it at any moment.
REQUEST_SECONDS = 0.3


@dataclass(frozen=True)
class Killed:
    """The end of a command: its kills, the exit code of its last run, and the seconds of all runs."""

    kills: int
    exit_code: int
    seconds: float
    output: str


class Client:
    """Commands of the client on one plan."""

    def __init__(self, folder: Path, url: str, seed: str) -> None:
        self.plan = folder / "plan.jsonl"
        self._folder = folder
        self._environment = {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": url}
        self._chance = random.Random(seed)

    def run(self, *arguments: str) -> Killed:
        """Run a command to its end."""
        return self.run_and_kill(0, lambda: 0, 0, *arguments)

    def run_and_kill(self, kills: int, progress: Callable[[], int], whole: int, *arguments: str) -> Killed:
        """Run a command, and kill it `kills` times: whenever it has got on a part of `whole`, as `progress` shows."""
        started, done = time.monotonic(), 0
        for number in range(kills):
            process = self._launch(*arguments)
            part = (number + self._chance.random()) * whole / kills
            until(lambda: not process.alive or progress() >= part, "the client to get on", LONGEST_SECONDS)  # noqa: B023
            time.sleep(self._chance.uniform(0, REQUEST_SECONDS))  # the moment of the kill, not a wait
            done += process.alive
            process.close()
        process = self._launch(*arguments)
        until(lambda: not process.alive, "the client to end", LONGEST_SECONDS)
        return Killed(done, process.await_exit(), time.monotonic() - started, process.log.read_text())

    def _launch(self, command: str, *arguments: str) -> Daemon:
        argv = [str(Path(sys.executable).parent / "snapmanage"), command, *arguments, str(self.plan)]
        process = Daemon(command, argv, self._folder / f"{command}.log", os.environ | self._environment, is_warm=True)
        process.launch()
        return process
