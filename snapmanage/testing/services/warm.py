"""Start Python programs without the cost of imports: fork a process that has already imported the modules.

Imports take most of the processor time of a deployment that a test kills again and again. A warm process has the pid,
arguments, environment, outputs and exit status that `subprocess` would give it. Tests that check how the installed
commands start don't use this module.
"""

import atexit
import functools
import gc
import importlib
import importlib.metadata
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

# Modules that the daemons import.
IMPORTED = (
    *(
        f"snapmanage.cmd.{main}"
        for main in ("api", "audit", "exporter", "main", "manage.main", "relay", "standalone", "volume")
    ),
    "alembic.command",
    "cliff.formatters.table",
    "encodings.idna",
    "kombu.transport.pyamqp",
    "prometheus_client.exposition",
    "openstack.block_storage.v3._proxy",
    "oslo_policy._external",
    "psycopg",
    "pymysql",
    "snapmanage.bus.rabbit.bus",
    "snapmanage.client.app",
    "snapmanage.drivers.file",
    "snapmanage.drivers.system.privsep",
    "sqlalchemy.dialects.mysql.pymysql",
    "sqlalchemy.dialects.postgresql.psycopg",
)
LONGEST_MESSAGE = 1 << 18


class Forker:
    """A process that has imported modules; it starts when a program first requires it, and ends with this process."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = modules
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def request(self, request: Mapping[str, Any], files: Sequence[int] = ()) -> int:
        """Send a request to the process and return the answer."""
        with self._lock:
            self._socket = self._socket or self._start()
            socket.send_fds(self._socket, [json.dumps(request).encode()], files)
            return int(json.loads(self._socket.recv(LONGEST_MESSAGE)))

    def _start(self) -> socket.socket:
        """Start the process, and return the socket to it."""
        own_end, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with child_end:
            # -P, or modules of this folder would hide installed ones.
            command = [sys.executable, "-P", __file__, str(child_end.fileno()), *self._modules]
            process = subprocess.Popen(command, pass_fds=[child_end.fileno()], stdout=subprocess.DEVNULL)
        atexit.register(process.wait)
        atexit.register(own_end.close)  # runs before `wait`, and ends the process
        return own_end


DAEMONS = Forker(IMPORTED)


class Process:
    """A running Python program, with the part of the interface of `subprocess.Popen` that `Daemon` uses."""

    def __init__(
        self,
        command: Sequence[str],
        stdout: int | IO[str],
        stderr: int | IO[str],
        env: Mapping[str, str],
        text: bool = True,
        stdin: int | None = None,
        cwd: str | None = None,
        forker: Forker = DAEMONS,
    ) -> None:
        self.returncode: int | None = None
        self.stdout: IO[str] | None = None
        self._forker = forker
        output, writing = stdout, -1
        if stdout == subprocess.PIPE:
            reading, writing = os.pipe()
            self.stdout, output = os.fdopen(reading), writing
        script = command[1:] if command[0] == sys.executable else command
        files = [file if isinstance(file, int) else file.fileno() for file in (output, stderr)]
        request = {"argv": script, "environment": dict(env), "folder": cwd or os.getcwd()}
        self.pid: int = forker.request(request, files if stdin is None else [*files, stdin])
        self._pidfd = os.pidfd_open(self.pid)  # the pid is not reused: an ended process stays a zombie until `_status`
        if writing >= 0:
            os.close(writing)

    def poll(self) -> int | None:
        return self._status(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _status(self, timeout: float | None) -> int | None:
        if self.returncode is None and self._has_ended(timeout):
            self.returncode = self._forker.request({"ended": self.pid})
            os.close(self._pidfd)
        return self.returncode

    def _has_ended(self, timeout: float | None) -> bool:
        """Wait with `poll`, since `select.select` fails in a process with more than 1,023 open files."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(None if timeout is None else 1000 * timeout))


def is_python(command: Sequence[str]) -> bool:
    """Return whether the command is a Python program of this virtual environment."""
    return command[0] == sys.executable or os.path.dirname(command[0]) == os.path.dirname(sys.executable)


def _serve(client: socket.socket) -> None:
    """Answer questions: fork and return the pid, or return a child's exit status. In a child, run the program."""
    while True:
        message, files, _, _ = socket.recv_fds(client, LONGEST_MESSAGE, 3)
        if not message:
            return
        request = json.loads(message)
        if "ended" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["ended"], 0)[1])
        elif not (answer := os.fork()):
            client.close()
            return _run(request, files)
        for file in files:
            os.close(file)
        client.send(json.dumps(answer).encode())


def _run(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """Run a program with the files as standard output, standard error and, if there is a third one, standard input."""
    for file, place in zip(files, (1, 2, 0), strict=False):
        os.dup2(file, place)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    sys.argv = request["argv"]
    more = os.environ.get("PYTHONPATH", "")
    sys.path[:0] = [os.path.dirname(os.path.realpath(sys.argv[0])), *filter(None, more.split(os.pathsep))]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    # cliff reads the list of files of each installed package, which takes 0.1 s; it imports this function by its name.
    importlib.metadata.packages_distributions = functools.cache(importlib.metadata.packages_distributions)
    for module in sys.argv[2:]:
        importlib.import_module(module)
    # Read the metadata of all installed packages once, which takes 0.1 s; each process needs it to find its driver.
    importlib.metadata.entry_points = importlib.metadata.entry_points().select
    importlib.metadata.packages_distributions()
    assert threading.active_count() == 1, "a fork copies no other thread"
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
