"""Run commands of storage systems: without a shell, in a fixed environment, with a deadline and limits.

A command reads data that others wrote, such as the metadata of an image, and may hang. `prlimit` of util-linux sets the
limits between fork and exec: it costs 0.7 ms, a Python program in its place 12 ms and more, and Python code in a forked
thread may deadlock. The number of processes has no limit, since the kernel counts all processes of the user together.
"""

import errno
import math
import os
import selectors
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, NamedTuple

from snapmanage import errors

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
GRACE_SECONDS = 10
# A longer deadline counts as this one: the kernel's calls that wait refuse more than 24 days.
LONGEST_SECONDS = 7 * 24 * 3600
# Commands on one storage that may outlast their deadlines at the same time, each with a thread.
MOST_OUTLASTING = 16

_SYSTEM_PATH = "/usr/bin:/bin"
_CHUNK_BYTES = 64 * 1024

# The threads that await commands beyond their deadlines, each with the name of the storage.
_outlasting: list[tuple[str, threading.Thread]] = []
_lock = threading.Lock()


@dataclass(frozen=True)
class Limits:
    """Limits of one command.

    Its address space: lvm2 and zfs use some 100 MiB for 100,000 snapshots. The largest file that it may write: lvm2
    writes backups of its metadata. Its output and its messages, each: `lvs` prints about 60 MiB for 100,000 snapshots.
    """

    memory_bytes: int = 4 * 1024**3
    file_bytes: int = 1024**3
    output_bytes: int = 256 * 1024**2


class CompletedCommand(NamedTuple):
    """A command that has ended; a negative exit code is the number of the signal that ended it."""

    exit_code: int
    output: str
    error: str


def run(
    argv: Sequence[str],
    package: str,
    deadline_seconds: float,
    environment: Mapping[str, str] | None = None,
    inherited_fds: Sequence[int] = (),
    limits: Limits = Limits(),
    storage: str = "",
) -> CompletedCommand:
    """Run a command of `package` until it ends; raise `BackendUnavailable` if it can't be started, or hangs.

    `environment` is added to `ENVIRONMENT`. The command inherits the open files `inherited_fds`. It has a process group
    of its own: Ctrl-C does not end it in the middle, and a signal to its group does not end snapmanage.

    At its deadline, or when it prints too much, the command gets SIGTERM and never SIGKILL: a storage system's change
    must not be cut off in the middle. The kernel ends a command in the same way that outlives snapmanage, when it has
    used as many seconds of processor time. While `MOST_OUTLASTING` commands on a `storage` outlast their deadlines, no
    further one is started on it.
    """
    _refuse_while_many_outlast(argv[0], storage)
    deadline_seconds = min(deadline_seconds, LONGEST_SECONDS)
    program = shutil.which(argv[0], path=ENVIRONMENT["PATH"])
    if program is None:
        raise _not_started(argv[0], package, os.strerror(errno.ENOENT))
    try:
        process = subprocess.Popen(
            limited([program, *argv[1:]], limits, deadline_seconds + GRACE_SECONDS),
            env=ENVIRONMENT | dict(environment or {}),
            pass_fds=inherited_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
    except OSError as failure:
        raise _not_started(argv[0], package, failure.strerror) from failure
    return _completed(process, argv[0], deadline_seconds, limits, storage)


def limited(argv: Sequence[str], limits: Limits, cpu_seconds: float) -> list[str]:
    """Return the command that sets the limits, and a core size of 0, and then becomes `argv`.

    Raise `BackendUnavailable` without `prlimit`.
    """
    prlimit = shutil.which("prlimit", path=_SYSTEM_PATH)
    if prlimit is None:
        raise errors.BackendUnavailable(f"can't limit {argv[0]}: prlimit is missing, install util-linux")
    # Only the soft limit of the processor time: at the hard one the kernel sends SIGKILL.
    cpu = f"--cpu={math.ceil(cpu_seconds)}:"
    return [prlimit, "--core=0", f"--as={limits.memory_bytes}", f"--fsize={limits.file_bytes}", cpu, "--", *argv]


class _Pipes:
    """The output and the messages of a command, each kept up to a limit.

    Beyond the limit they are read and dropped, since a command that can't print would not end.
    """

    def __init__(self, process: subprocess.Popen[bytes], limit: int) -> None:
        assert process.stdout
        assert process.stderr
        self._kept: dict[IO[bytes], bytearray] = {process.stdout: bytearray(), process.stderr: bytearray()}
        self._open = set(self._kept)
        self._limit = limit
        self.overflowed = False

    def read(self, deadline_seconds: float) -> bool:
        """Return True once both pipes have ended; return False at the deadline, or at the first overflow."""
        deadline = time.monotonic() + deadline_seconds
        overflowed_before = self.overflowed
        with selectors.DefaultSelector() as selector:
            for pipe in self._open:
                selector.register(pipe, selectors.EVENT_READ, pipe)
            while self._open:
                ready = selector.select(max(0, deadline - time.monotonic()))
                if not ready:
                    return False
                for pipe in [key.data for key, _ in ready if not self._keep(key.data)]:
                    selector.unregister(pipe)
                if self.overflowed and not overflowed_before:
                    return False
        return True

    def texts(self) -> list[str]:
        return [kept.decode(errors="replace") for kept in self._kept.values()]

    def _keep(self, pipe: IO[bytes]) -> bool:
        """Read once; return False at the end of the pipe."""
        chunk = os.read(pipe.fileno(), _CHUNK_BYTES)
        room = self._limit - len(self._kept[pipe])
        self._kept[pipe] += chunk[:room]
        self.overflowed |= len(chunk) > room
        if not chunk:
            pipe.close()
            self._open.discard(pipe)
        return bool(chunk)


def _not_started(command: str, package: str, reason: str | None) -> errors.BackendUnavailable:
    return errors.BackendUnavailable(f"can't run {command} ({reason}): is {package} installed?")


def _completed(
    process: subprocess.Popen[bytes], command: str, deadline_seconds: float, limits: Limits, storage: str
) -> CompletedCommand:
    pipes = _Pipes(process, limits.output_bytes)
    if not _end(process, pipes, deadline_seconds):
        _outlast_in_thread(process, pipes, command, storage)
        raise errors.BackendUnavailable(
            f"{command} didn't end within {deadline_seconds:g} s and ignores SIGTERM: look for a device that hangs"
        )
    if pipes.overflowed:
        raise errors.BackendUnavailable(
            f"{command} printed more than {limits.output_bytes} bytes and was ended: run it by hand and look at its "
            "output"
        )
    return CompletedCommand(process.returncode, *pipes.texts())


def _end(process: subprocess.Popen[bytes], pipes: _Pipes, deadline_seconds: float) -> bool:
    """Read the output until the command ends; at the deadline send SIGTERM, and return False if it ignores that.

    lvm2 obeys SIGTERM while it waits for a lock, and defers it while devices are suspended. A SIGKILL at that moment
    would freeze all I/O on those devices, so a command that ignores SIGTERM is left running.
    """
    started = time.monotonic()
    if pipes.read(deadline_seconds) and _wait(process, started + deadline_seconds - time.monotonic()):
        return True
    process.terminate()
    return pipes.read(GRACE_SECONDS) and _wait(process, GRACE_SECONDS)


def _refuse_while_many_outlast(command: str, storage: str) -> None:
    """Raise `BackendUnavailable` while many commands hang: each attempt would leave another process and thread."""
    with _lock:
        _outlasting[:] = [each for each in _outlasting if each[1].is_alive()]
        count = [name for name, _ in _outlasting].count(storage)
    if count >= MOST_OUTLASTING:
        raise errors.BackendUnavailable(
            f"{command} was not started, since {count} earlier commands have not ended: look for a device that hangs"
        )


def _outlast_in_thread(process: subprocess.Popen[bytes], pipes: _Pipes, command: str, storage: str) -> None:
    thread = threading.Thread(target=_outlast, args=(process, pipes), name=f"end of {command}", daemon=True)
    thread.start()
    with _lock:
        _outlasting.append((storage, thread))


def _outlast(process: subprocess.Popen[bytes], pipes: _Pipes) -> None:
    """Read the output of a command until its end, since a closed pipe would end it with SIGPIPE."""
    while not pipes.read(GRACE_SECONDS):
        pass
    process.wait()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Return whether the process ends within the time."""
    try:
        _sleep_until_end(process.pid, max(0, seconds))
        return process.poll() is not None
    except OSError:  # the kernel, a sandbox or the limit of open files refuses; `Popen` asks again and again instead
        return _poll_until_end(process, max(0, seconds))


def _sleep_until_end(pid: int, seconds: float) -> None:
    """Return once the child process has ended, or after the time; it costs a millisecond less than to poll."""
    end = os.pidfd_open(pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(end, selectors.EVENT_READ)
            selector.select(seconds)
    finally:
        os.close(end)


def _poll_until_end(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
