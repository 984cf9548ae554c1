"""A real program that a test starts, hurts and stops: its port, its scratch folder, its processes.

What is the same for a broker and a database lives here; how to start one, and how to know that it
answers, is in the module of its name. Nothing touches what the machine itself may run: ports are
our own and on the loopback, files are in the scratch folder, and signals go to a process that we
started and to its descendants.
"""

import os
import pwd
import random
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from snapmanage.testing import needs
from snapmanage.testing.waiting import until

LOOPBACK = "127.0.0.1"
# Thirty times what a broker takes on a machine that does little else; a service that fails is known at once.
START_SECONDS = 180
PORTS = range(20000, 32000)

# What keeps ports ours: names that only one process can have, and that end with it.
_claims: list[socket.socket] = []


class Program:
    """One command in a scratch folder; where we are root it runs as `nobody`, unless that one couldn't start it."""

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
        """Start the command and return at once."""
        user = unprivileged() if self.as_nobody else None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "HOME": str(self.folder)} | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the tests, which then stop this in order
                user=user and user.pw_uid,
                group=user and user.pw_gid,
                extra_groups=user and [],
            )

    def run(self, command: Sequence[str | Path]) -> None:
        """Run the command to its end, which must be a success."""
        self.launch(command)
        assert self.process is not None
        assert self.process.wait(START_SECONDS) == 0, f"{command[0]} failed:\n{self.log_tail()}"

    def log_tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def freeze(self) -> None:
        """SIGSTOP to every process of it: connections stay open, nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)  # first, so that it bears no further child
        until(lambda: stopped(self.pid), f"{self.name} to stand still")

    def thaw(self) -> None:
        send(signal.SIGCONT, family(self.pid))

    def stop(self, seconds: float = 20) -> None:
        """End it in order; kill it when it takes longer than that."""
        if not self.running:
            return
        self.thaw()
        os.kill(self.pid, self.stop_signal)
        with suppress(AssertionError):
            until(lambda: not self.running, f"{self.name} to end", seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to every process of it at one moment; returns when they are gone."""
        if not self.running:
            return
        self.freeze()  # so that none tidies up after the death of another
        pids = family(self.pid)
        send(signal.SIGKILL, pids)
        until(lambda: not self.running and not pids & processes().keys(), f"{self.name} to be gone")


class Service(Program):
    """A program that answers on a port, keeps its data over `kill` and `restart`, and is made by `running`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(type(self).__name__.lower(), folder)
        self.port = free_port()

    def prepare(self) -> None:
        """Make, once, what the first start needs."""

    def command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        return {}

    def answers(self) -> bool:
        """Whether a real client is served now."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and return when it answers; AssertionError with the log's tail when it doesn't."""
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
        """Leave nothing running."""
        self.stop()


S = TypeVar("S", bound=Service)


@contextmanager
def running(kind: Callable[[Path], S]) -> Iterator[S]:
    """A started service of that kind with a scratch folder of its own; both are gone in the end."""
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
    """A folder in which services may write, removed in the end."""
    with tempfile.TemporaryDirectory(prefix="snapmanage-") as folder:
        give_away(Path(folder))
        yield Path(folder)


def unique(word: str) -> str:
    """A name that no other test uses, so that tests can share a service and not meet."""
    return f"{word}_{uuid.uuid4().hex[:12]}"


def free_port() -> int:
    """A port of the loopback on which nobody listens.

    It lies below the ports given to outgoing connections: a client that dials a dead service over
    and over could otherwise be given the service's own port, and keep it from coming back.

    Whoever asks here, in any process, is given another one as long as this process lives: a service
    doesn't listen yet, or not while it is killed.
    """
    for port in random.sample(PORTS, 100):
        claim = socket.socket(socket.AF_UNIX)
        with socket.socket() as probe, suppress(OSError):
            claim.bind(f"\0snapmanage port {port}")
            probe.bind((LOOPBACK, port))
            _claims.append(claim)
            return port
        claim.close()
    raise AssertionError("no free port found on the loopback")


def installed(name: str) -> str:
    """Where a program is, for one that `needs.require` has already asked for."""
    path = needs.program(name)
    assert path is not None, f"{name} is not installed, see bindep.txt"
    return path


def unprivileged() -> pwd.struct_passwd | None:
    """Whom services run as: PostgreSQL refuses root, and none of them needs it."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def give_away(path: Path) -> None:
    """Make a file or folder of ours belong to the user whom services run as."""
    if user := unprivileged():
        os.chown(path, user.pw_uid, user.pw_gid)


class Process(NamedTuple):
    state: str
    parent: int


def processes() -> dict[int, Process]:
    """Every process that isn't a zombie, by its id."""
    alive = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            state, parent = path.read_text().rpartition(") ")[2].split()[:2]
            if state not in "XZ":
                alive[int(path.parent.name)] = Process(state, int(parent))
    return alive


def family(pid: int) -> set[int]:
    """A process and all its descendants; the services' children leave its process group, but not its tree."""
    alive = processes()
    pids = {pid}
    while born := {child for child, process in alive.items() if process.parent in pids} - pids:
        pids |= born
    return pids


def stopped(pid: int) -> bool:
    """Stop a process and its descendants; whether all stand still. Until its parent does, a child may be born."""
    send(signal.SIGSTOP, family(pid))
    alive = processes()
    return all(alive[member].state in "Tt" for member in family(pid) & alive.keys())


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
