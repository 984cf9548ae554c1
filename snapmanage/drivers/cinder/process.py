"""The process of a vendor driver, from its parent's side: it starts when it is needed, and is killed when it hangs.

Cinder can't share a process with snapmanage. Both register options of the same name with different meanings (`host`,
`[database] connection`), Cinder imports eventlet, vendor drivers keep one backend's settings in class attributes, and
a hanging call could never be ended. So each backend has a child process, as in Cinder itself. A pair of sockets
connects the two.

A call that reaches its deadline kills the child. The other calls in progress then fail with `BackendUnavailable` too,
and are retried with a new child. Commands that the vendor driver had started run to their own end. The next look at the
backend shows the effects of the killed call.
"""

import itertools
import json
import logging
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as DeadlinePassed
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import snapmanage
from snapmanage import errors
from snapmanage.drivers.protocol import Section

LOG = logging.getLogger(__name__)

# Importing Cinder takes a second, and many seconds on a busy machine; the array's deadline would be too short.
MIN_START_SECONDS = 60
# A list of 100,000 snapshots takes about 50 MB. A longer answer ends the process, since its rest can't be read.
MAX_ANSWER_CHARACTERS = 256 * 1024**2

# A shorter value is part of too many words.
SHORTEST_SECRET = 4
_SECRET = re.compile("pass|secret|token|key|credential", re.IGNORECASE)

_ROOT = Path(snapmanage.__file__).parents[1]
# The folder is last on the path: an interpreter with a Cinder of its own keeps its own libraries too.
_PROGRAM = (
    "import sys; sys.path.append({root!r}); from snapmanage.drivers.cinder import child; "
    "child.main({descriptor}, {folder!r})"
)

_ERRORS: Mapping[str, type[errors.SnapmanageError]] = {
    "already_managed": errors.AlreadyManaged,
    "in_use": errors.InUse,
    "invalid": errors.InvalidReference,
    "configuration": errors.ConfigurationError,
    "unavailable": errors.BackendUnavailable,
    "failed": errors.BackendError,
}


class CinderProcess:
    """Calls to a vendor driver, from any number of threads."""

    def __init__(self, python: str, volume_driver: str, section: Section, deadline_seconds: float) -> None:
        self._python = python or sys.executable
        self._volume_driver = volume_driver
        self._section = section
        self.deadline_seconds = deadline_seconds
        self._lock = threading.Lock()
        self.child: Child | None = None

    def call(self, operation: str, **arguments: Any) -> Any:
        """Return the vendor driver's answer, or raise its refusal.

        Raise `BackendUnavailable` at the deadline, or when the child ends.
        """
        return self._started().call(operation, arguments, self.deadline_seconds)

    def close(self) -> None:
        with self._lock:
            if self.child:
                self.child.end()
            self.child = None

    def _started(self) -> "Child":
        """Return the running child; start one where there is none."""
        with self._lock:
            if self.child is None or self.child.ended:
                if self.child:
                    self.child.end()
                self.child = self._start()
            return self.child

    def _start(self) -> "Child":
        child = Child(self._python)
        try:
            arguments = {
                "volume_driver": self._volume_driver,
                "section": self._section.name,
                "configuration": _configuration(self._section, child.folder),
                "secrets": _secrets(self._section),
            }
            child.call("open", arguments, max(self.deadline_seconds, MIN_START_SECONDS))
        except BaseException:
            child.end()
            raise
        return child


class Child:
    """One child process, from its start to its end."""

    def __init__(self, python: str) -> None:
        self.ended = False
        self._scratch = tempfile.TemporaryDirectory(prefix="snapmanage-cinder-", ignore_cleanup_errors=True)
        self.folder = self._scratch.name
        self._socket, childs_socket = socket.socketpair()
        program = _PROGRAM.format(root=str(_ROOT), descriptor=childs_socket.fileno(), folder=self.folder)
        try:
            self._process = _run([python, "-P", "-W", "ignore", "-c", program], childs_socket.fileno())
        except BaseException:
            self._socket.close()
            self._scratch.cleanup()
            raise
        finally:
            childs_socket.close()
        self._lock = threading.Lock()
        self._serial = itertools.count()
        self._pending: dict[int, Future[Any]] = {}
        threading.Thread(target=self._receive, name="cinder answers", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def pending_calls(self) -> int:
        return len(self._pending)

    def call(self, operation: str, arguments: Mapping[str, Any], deadline_seconds: float) -> Any:
        answer = self._send(operation, arguments)
        try:
            return answer.result(deadline_seconds)
        except DeadlinePassed:
            self.end()
            raise errors.BackendUnavailable(
                f"the vendor driver didn't answer {operation!r} within {deadline_seconds:g} s, and its process was "
                "killed; check the array, or raise cinder_timeout_seconds"
            ) from None

    def end(self) -> None:
        """Kill the process; every call in progress fails."""
        self.ended = True
        self._process.kill()
        self._process.wait()
        with self._lock:
            self._socket.close()
        self._scratch.cleanup()

    def _send(self, operation: str, arguments: Mapping[str, Any]) -> Future[Any]:
        answer: Future[Any] = Future()
        with self._lock:
            serial = next(self._serial)
            self._pending[serial] = answer
            line = json.dumps({"id": serial, "operation": operation, "arguments": arguments})
            try:
                self._socket.sendall(line.encode() + b"\n")
            except OSError:
                self.ended = True
                answer.set_exception(_process_ended())
        return answer

    def _receive(self) -> None:
        """Deliver each answer to its call until the child ends; then fail the pending calls."""
        try:
            with self._socket.makefile("r", encoding="utf-8") as lines:
                while line := lines.readline(MAX_ANSWER_CHARACTERS):
                    self._deliver(json.loads(line))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            LOG.warning(
                "Process %d of a vendor driver ended in the middle of an answer, or sent no answer; its calls are "
                "retried.",
                self.pid,
            )
        self.ended = True
        with self._lock:
            pending = list(self._pending.values())
        for answer in pending:
            if not answer.done():
                answer.set_exception(_process_ended())

    def _deliver(self, message: Mapping[str, Any]) -> None:
        """Log a log record of the child, or complete the call that the message answers."""
        if "log" in message:
            logging.getLogger(message["name"]).log(message["log"], "%s", message["text"])
            return
        with self._lock:
            answer = self._pending.pop(message["id"])
        if "error" in message:
            answer.set_exception(_ERRORS[message["error"]](f"the vendor driver reports: {message['text']}"))
        else:
            answer.set_result(message["value"])


def _run(argv: Sequence[str], descriptor: int) -> subprocess.Popen[bytes]:
    try:
        # The child has a session of its own: Ctrl-C must not end it before snapmanage has finished its operations.
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[descriptor],
            start_new_session=True,
        )
    except OSError as failure:
        raise errors.ConfigurationError(
            f"{argv[0]!r} can't be started ({failure.strerror}): set cinder_python to an interpreter with Cinder"
        ) from failure


def _configuration(section: Section, folder: str) -> str:
    """Return the configuration file of the child's Cinder: the backend's section, and a folder for its locks."""
    lines = [
        "[DEFAULT]",
        f"state_path = {folder}",
        "use_stderr = false",
        f"snapshot_name_template = {section.snapshot_name_template or '%s'}",
        "[oslo_concurrency]",
        f"lock_path = {folder}",
        "[database]",
        "connection = sqlite://",
        f"[{section.name}]",
    ]
    if "volume_backend_name" not in section.values:
        lines.append(f"volume_backend_name = {section.name}")
    for key, values in section.values.items():
        # oslo.config reads an indented line as part of the value above it.
        lines += [f"{key} = {value}".replace("\n", "\n    ") for value in values]
    return "\n".join(lines) + "\n"


def _secrets(section: Section) -> list[str]:
    """Return the texts that no log and no error may show, the longest first: values of options named like secrets.

    A value is also shown as Python and JSON write it in quotes, and as it is written in a URL.
    """
    values = [value for key, values in section.values.items() if _SECRET.search(key) for value in values]
    shown = {
        spelling
        for value in values
        if len(value) >= SHORTEST_SECRET
        for spelling in (value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value, safe=""), quote_plus(value))
    }
    return sorted(shown, key=len, reverse=True)


def _process_ended() -> errors.BackendUnavailable:
    return errors.BackendUnavailable("the process of the vendor driver ended; the next call starts it again")
