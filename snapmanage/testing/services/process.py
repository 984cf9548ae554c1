"""A real program that a test starts, kills and stops: its port, its scratch folder, its processes.

The module of each broker and database defines how it is started and how a test recognises that it answers.

The services of the machine itself stay untouched: ports are unused ones of the loopback, files are in the scratch
folder, and signals go only to processes that the tests started and to their descendants.
"""

import atexit
import os
import pwd
import random
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from snapmanage.testing import needs
from snapmanage.testing.waiting import until

LOOPBACK = "127.0.0.1"
# Thirty times as long as a broker needs on an idle machine; a service that fails is noticed at once.
START_SECONDS = 180
PORTS = range(20000, 32000)

# Abstract sockets that reserve the ports: one process can bind such a name, and loses it when it ends.
_reservations = ExitStack()
atexit.register(_reservations.close)


class Program:
    """One command in a scratch folder; if the tests run as root and `as_nobody` is set, it runs as `nobody`."""

    as_nobody = True
    stop_signal = signal.SIGTERM

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} was never started"
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def launch(self, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Start the command, and return at once.

        Its temporary files are in its own folder: a MariaDB that starts removes those of every other in the same one.
        """
        user = unprivileged() if self.as_nobody else None
        folder = str(self.folder)
        known = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": folder, "TMPDIR": folder}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=known | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that Ctrl-C interrupts only the tests, which then stop the program
                user=user and user.pw_uid,
                group=user and user.pw_gid,
                extra_groups=user and [],
            )

    def run(self, command: Sequence[str | Path]) -> None:
        """Run the command and wait for its end; fail unless it succeeds."""
        self.launch(command)
        assert self.process is not None
        assert self.process.wait(START_SECONDS) == 0, f"{command[0]} failed:\n{self.log_tail(60)}"

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def freeze(self) -> None:
        """Stop all its processes with SIGSTOP: connections stay open, but no process answers."""
        os.kill(self.pid, signal.SIGSTOP)  # first, so that it starts no further child
        until(lambda: stop_family(self.pid), f"all processes of {self.name} to be stopped")

    def thaw(self) -> None:
        send(signal.SIGCONT, family(self.pid))

    def stop(self, seconds: float = 20) -> None:
        """Shut the program down; kill it after `seconds`."""
        if not self.running:
            return
        self.thaw()
        os.kill(self.pid, self.stop_signal)
        with suppress(AssertionError):
            until(lambda: not self.running, f"{self.name} to end", seconds)
        self.kill()

    def kill(self) -> None:
        """Kill all its processes at one moment with SIGKILL; return when they are gone."""
        if not self.running:
            return
        self.freeze()  # so that no process reacts to the death of another
        pids = family(self.pid)
        send(signal.SIGKILL, pids)
        until(lambda: not self.running and not pids & processes().keys(), f"{self.name} to be gone")


class Service(Program):
    """A program that answers on a port and keeps its data over `kill` and `restart`; `running` makes it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(type(self).__name__.lower(), folder)
        self.port = free_port()

    def prepare(self) -> None:
        """Create the files that the first start needs; called once."""

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def answers(self) -> bool:
        """Return whether the service answers a real client at present."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the service and return when it answers; raise AssertionError with the end of the log if it doesn't."""
        self.launch(self.command(), self.environment())
        try:
            until(lambda: not self.running or self.answers(), f"{self.name} to answer", START_SECONDS)
            assert self.running, f"{self.name} ended as it started"
        except AssertionError as failure:
            self.kill()
            raise AssertionError(f"{failure}; the end of its log:\n{self.log_tail()}") from None

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop all processes of the service."""
        self.stop()


S = TypeVar("S", bound=Service)


@contextmanager
def running(kind: Callable[[Path], S]) -> Iterator[S]:
    """Run a service with a scratch folder of its own; remove both in the end."""
    with scratch() as folder:
        service = kind(folder)
        try:
            service.prepare()
            service.start()
            yield service
        finally:
            service.close()


@contextmanager
def scratch() -> Iterator[Path]:
    """Create a folder in which services may write; remove it in the end."""
    with tempfile.TemporaryDirectory(prefix="snapmanage-") as folder:
        give_away(Path(folder))
        yield Path(folder)


def unique(word: str) -> str:
    """Return a name that no other test uses, so that tests can share a service."""
    return f"{word}_{uuid.uuid4().hex[:12]}"


def free_port() -> int:
    """Return an unused port of the loopback.

    The port is below the range of outgoing connections. Otherwise a client that repeatedly connects to a stopped
    service could get the service's own port as its source port, and prevent the next start. The port is reserved until
    this process ends: no call in any process returns it again, even if no service listens.
    """
    for port in random.sample(PORTS, 100):
        reservation = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe, suppress(OSError):
            reservation.bind(f"\0snapmanage port {port}")
            probe.bind((LOOPBACK, port))
            _reservations.enter_context(reservation)
            return port
        reservation.close()
    raise AssertionError("no free port found on the loopback")


def installed(name: str) -> str:
    """Return the path of a program; the caller has already required it with `needs.require`."""
    path = needs.program(name)
    assert path is not None, f"{name} is not installed, see bindep.txt"
    return path


def unprivileged() -> pwd.struct_passwd | None:
    """Return the user for services, None if the tests don't run as root; PostgreSQL refuses to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def give_away(path: Path) -> None:
    """Change the owner of a file or folder to the user of the services."""
    if user := unprivileged():
        os.chown(path, user.pw_uid, user.pw_gid)


class Process(NamedTuple):
    state: str
    parent: int


def processes() -> dict[int, Process]:
    """Return all processes except zombies, by their ids."""
    alive = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent = path.read_text().rpartition(") ")[2].split()[:2]
            if state not in "XZ":
                alive[int(path.parent.name)] = Process(state, int(parent))
    return alive


def family(pid: int) -> set[int]:
    """Return a process and all its descendants; a service's children leave its process group, but not its tree."""
    alive = processes()
    pids = {pid}
    while children := {child for child, process in alive.items() if process.parent in pids} - pids:
        pids |= children
    return pids


def stop_family(pid: int) -> bool:
    """Stop a process and its descendants; return whether all are stopped. A running parent may start another child."""
    send(signal.SIGSTOP, family(pid))
    alive = processes()
    return all(alive[member].state in "Tt" for member in family(pid) & alive.keys())


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
