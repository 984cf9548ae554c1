"""snapmanage-privileged: run the privileged entry points as root, for a service without root that starts it with sudo.

The service chooses the arguments, the environment, the working directory, the limits, the ignored signals and the
socket. So the helper accepts one form of arguments, reads no configuration file, replaces the rest by its own values,
and connects only to a socket of the user that started it. The protocol and the loop are those of oslo.privsep.
"""

import importlib
import logging
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_privsep import comm, daemon

from snapmanage import errors
from snapmanage.cmd.process import output, running
from snapmanage.drivers.system import boundary, commands, privsep, syscalls, trusted

CONTEXT = f"{privsep.__name__}.context"
MODULES = tuple(f"snapmanage.drivers.{name}.privileged" for name in ("btrfs", "lvm", "zfs"))
# Calls that run at once. Each backend has 8 `driver_calls` by default; further calls wait.
THREADS = 16
# A low limit of the caller could end lvm2 in the middle of a change. lvm2 locks its memory and raises its priority
# while devices are suspended; these limits let it do so without the capabilities for it.
LIMITS = {
    **dict.fromkeys(("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE"), resource.RLIM_INFINITY),
    "RLIMIT_MEMLOCK": resource.RLIM_INFINITY,
    "RLIMIT_NICE": 40,
    "RLIMIT_NOFILE": 4096,
    "RLIMIT_CORE": 0,
    "RLIMIT_STACK": 8 * 1024**2,
}
DEFAULT_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGXCPU, signal.SIGXFSZ)

OOM_SCORE = Path("/proc/self/oom_score_adj")

# The thread of the service that reads replies ends at a text of more than 100 MiB, and each call would wait for ever.
MAX_REPLY_BYTES = 96 * 1024**2

_PEER = struct.Struct("3i")


@running.program
def main() -> int:
    arguments = sys.argv[1:]
    listed = boundary.Listed()
    _refuse_unsafe_start(listed)
    if arguments == ["--check"]:
        for kind, names in listed.read().items():
            output.lines(f"{kind} = {name}" for name in sorted(names))
        return 0
    path, caller = _socket_path(arguments), int(os.environ.get("SUDO_UID", "0"))
    _replace_inherited_settings()
    boundary.use(listed)
    cfg.CONF([], project="snapmanage", default_config_files=[], default_config_dirs=[], use_env=False)
    cfg.CONF.set_default("thread_pool_size", THREADS, group=privsep.context.cfg_section)
    return _start_daemon(Requests(_connect(path, caller), entry_points()))


class ReplySocket(socket.socket):
    """A socket to the service, which sends only replies that the service can receive."""

    def sendall(self, reply: Any, flags: int = 0) -> None:
        """Send a reply; raise `BackendUnavailable`, which the daemon sends instead, if it is too long."""
        if len(reply) > MAX_REPLY_BYTES:
            raise errors.BackendUnavailable(
                f"the backend reports {len(reply)} bytes, and the helper returns at most {MAX_REPLY_BYTES}: remove "
                "snapshots, or run snapmanage-volume as root, without the helper"
            )
        super().sendall(reply, flags)


class Requests(comm.ServerChannel):
    """The requests of the service that name an entry point; the others are refused.

    The daemon of oslo.privsep would import any module that a request names before it refuses the function.
    """

    def __init__(self, connection: socket.socket, names: Collection[str]) -> None:
        super().__init__(connection)
        self._names = names

    def __next__(self) -> tuple[str, tuple[object, ...]]:
        while True:
            number, (kind, *arguments) = super().__next__()
            if kind != comm.Message.CALL or arguments[0] in self._names:
                return number, (kind, *arguments)
            error = errors.BackendPermission(f"{arguments[0]!r} is no entry point of snapmanage's helper")
            name = f"{type(error).__module__}.{type(error).__name__}"
            self.send((number, (comm.Message.ERR.value, name, error.args, "")))


def entry_points() -> frozenset[str]:
    """Return the full names of the functions that a service may call."""
    modules = map(importlib.import_module, MODULES)
    return frozenset(
        f"{module.__name__}.{name}"
        for module in modules
        for name, value in vars(module).items()
        if privsep.context.is_entrypoint(value)
    )


def _refuse_unsafe_start(listed: boundary.Listed) -> None:
    """Raise `ConfigurationError` or `BackendPermission` where another user could influence this process."""
    if os.geteuid() != 0:
        raise errors.ConfigurationError(
            "snapmanage-privileged is not root: start it with sudo, see docs/how-to/privileges.md"
        )
    if not sys.flags.isolated:
        raise errors.ConfigurationError(
            f"Python obeys the caller's environment: start {sys.executable} -I {sys.argv[0]}, as the sample of sudoers "
            "does"
        )
    allowed = os.environ.get("SUDO_COMMAND", "").partition(" ")[0]
    if allowed and Path(allowed).resolve() == Path(sys.executable).resolve():
        raise errors.ConfigurationError(
            f"sudoers allows {allowed} itself, so the user of the service can run any code as root: replace the line "
            "by that of etc/sudoers.d/snapmanage, which starts env"
        )
    for path in _code():
        if not trusted.is_root_only_behind_links(path):
            raise errors.ConfigurationError(
                f"other users than root can change {path}, or a folder or symbolic link on the way to it: install "
                "snapmanage as root into a virtual environment of root, such as /opt/snapmanage"
            )
    listed.read()


def _code() -> Iterator[Path]:
    """Yield the path of every file and folder from which this process has loaded or may load code, as Python has it.

    A user who can change a symbolic link on the way to a path chooses the code of the next start.
    """
    yield Path(sys.executable)
    yield from {Path(folder) for folder in (sys.prefix, *sys.path) if os.path.exists(folder)}
    for module in list(sys.modules.values()):
        for name in ("__file__", "__cached__"):
            path = getattr(module, name, None)
            if path and os.path.exists(path):
                yield Path(path)


def _socket_path(arguments: Sequence[str]) -> str:
    match arguments:
        case ["--privsep_context", context, "--privsep_sock_path", path] if context == CONTEXT:
            return path
    raise errors.ConfigurationError(
        f"snapmanage-privileged takes exactly --privsep_context {CONTEXT} --privsep_sock_path PATH, or --check: leave "
        "helper_command of [snapmanage_sys_admin] at its default"
    )


def _replace_inherited_settings() -> None:
    os.environ.clear()
    os.environ.update(commands.ENVIRONMENT)
    os.chdir("/")
    for number in DEFAULT_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for name, limit in LIMITS.items():
        _set_limit(getattr(resource, name), limit)
    _replace_priorities()


def _replace_priorities() -> None:
    """Take the priorities of an ordinary process: lvm2 may hold suspended devices while it waits for its turn.

    The kernel refuses to raise some of them in a container.
    """
    with suppress(OSError):
        if int(OOM_SCORE.read_text()) > 0:
            OOM_SCORE.write_text("0")
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    with suppress(OSError):
        # Python has no call for the class of I/O; ionice is a part of util-linux, like prlimit.
        subprocess.run(["ionice", "--class", "none", "--pid", str(os.getpid())], check=False, stdin=subprocess.DEVNULL)
    with suppress(OSError):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def _set_limit(number: int, limit: int) -> None:
    """Set a limit; root of a container without CAP_SYS_RESOURCE gets at most the present hard limit."""
    try:
        resource.setrlimit(number, (limit, limit))
    except ValueError:
        _, hard = resource.getrlimit(number)
        resource.setrlimit(number, (hard, hard))


def _connect(path: str, caller: int) -> socket.socket:
    """Connect to the service; raise `BackendPermission` if a process of another user than `caller` listens."""
    connection = ReplySocket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError as failure:
        raise errors.ConfigurationError(f"no service listens on {path!r} ({failure.strerror})") from failure
    _, listener, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    if listener != caller:
        raise errors.BackendPermission(f"user {listener} listens on {path!r}, but user {caller} started this helper")
    return connection


def _start_daemon(requests: Requests) -> int:
    """Return 0 once a child serves the requests, and 1 if it could not start; the child never returns.

    The child has a session of its own: neither Ctrl-C nor the end of sudo's terminal reaches a command in progress.
    """
    started, report = os.pipe()
    if os.fork() != 0:
        os.close(report)
        return 0 if os.read(started, 1) else 1
    os.setsid()
    syscalls.keep_capabilities_of_children()
    daemon.replace_logging(daemon.PrivsepLogHandler(requests))
    logging.getLogger().setLevel(logging.INFO)
    try:
        Daemon(requests, report).run()
    except BaseException:
        logging.getLogger(__name__).exception("The privileged helper failed; the next call starts it again.")
        os._exit(1)
    os._exit(0)


class Daemon(daemon.Daemon):
    """The daemon of oslo.privsep, which reports when it has dropped its rights."""

    def __init__(self, requests: Requests, report: int) -> None:
        super().__init__(requests, privsep.context)
        self._report = report

    def loop(self) -> None:
        os.umask(0o077)
        os.write(self._report, b"1")
        os.close(self._report)
        super().loop()
