"""One process of snapmanage, which a test starts, stops and kills."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

from snapmanage.testing.services import warm

COMMAND_SECONDS = 60
# A process that prints no line for so long never becomes ready.
READY_SECONDS = 120


class Daemon:
    """One process of snapmanage, and its log; a warm process has done its imports before it starts."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        is_warm: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = os.environ | dict(environment or {})
        self._kind: Callable[..., subprocess.Popen[str] | warm.Process]
        self._kind = warm.Process if is_warm else subprocess.Popen
        self._process: subprocess.Popen[str] | warm.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} was never started"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the process as a command, and return its outputs and exit status; kill it after `COMMAND_SECONDS`."""
        argv = [*self._command, *arguments]
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            process = self._kind(argv, stdout=out, stderr=err, text=True, env=self._environment)
            try:
                code = process.wait(COMMAND_SECONDS)
            finally:
                process.kill()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(argv, code, out.read(), err.read())

    def launch(self, environment: Mapping[str, str] | None = None) -> None:
        """Start the process, with additions to its environment, and return at once."""
        self.close()
        with self.log.open("a") as log:
            self._process = self._kind(
                self._command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment | dict(environment or {}),
            )

    def start(self, environment: Mapping[str, str] | None = None) -> str:
        """Start the process, and return its ready line."""
        self.launch(environment)
        return self.await_ready()

    def await_ready(self) -> str:
        """Wait for the ready line of a launched process, and return it; kill the process after `READY_SECONDS`."""
        assert self._process is not None
        too_late = threading.Timer(READY_SECONDS, self._process.kill)
        too_late.start()
        try:
            line = self.next_line()
        finally:
            too_late.cancel()
        assert line.startswith("ready"), f"{self.name} printed {line!r}, and this log:\n{self.log.read_text()[-3000:]}"
        return line

    def next_line(self) -> str:
        """Return the next line of output; an empty text if the process has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def remaining_output(self) -> str:
        """Read the output until the process ends or closes it, and return it."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.read()

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.send(signal.SIGTERM)
        return self.await_exit()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self.await_exit()

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def close(self) -> None:
        """Kill the process if it runs, and close its output."""
        if self.alive:
            self.kill()
        elif self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()

    def await_exit(self) -> int:
        """Wait for the end and return the exit code; that of a killed process is the signal's negative number."""
        assert self._process is not None
        assert self._process.stdout is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        status = self._process.poll()
        assert status is not None, f"{self.name} doesn't end:\n{self.log.read_text()[-3000:]}"
        self._process.stdout.close()
        return status
