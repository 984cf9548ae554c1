"""The process that a vendor's driver runs in, as its parent sees it: started when needed, ended when it hangs.

Cinder can't share a process with snapmanage: the options that it registers contradict ours (`host` and
`[database] connection` are in both), it imports eventlet, drivers keep settings of one backend in
classes, and a call that hangs could be left behind but never be ended. So each backend has a child, as
it has in Cinder itself, and a pair of sockets to it.

At its deadline a call takes the child along, and with it the other calls under way: they end with
`BackendUnavailable`, and are tried again with a new child. Commands that the driver had started are left to end by
themselves. What a call did before is seen by whoever looks next.
"""

import itertools
import json
import logging
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

import snapmanage
from snapmanage import errors
from snapmanage.drivers.protocol import Section

LOG = logging.getLogger(__name__)

# Importing Cinder takes a second, and many on a busy machine; that isn't the array's fault.
LEAST_TO_START_SECONDS = 60

_ROOT = Path(snapmanage.__file__).parents[1]
# The folder goes last: where the interpreter has a Cinder of its own, it keeps its own libraries too.
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
    """Calls to a vendor's driver; any number at once."""

    def __init__(self, python: str, volume_driver: str, section: Section, deadline_seconds: float) -> None:
        self._python = python or sys.executable
        self._volume_driver = volume_driver
        self._section = section
        self.deadline_seconds = deadline_seconds
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def call(self, operation: str, **arguments: Any) -> Any:
        """What the driver answers; `BackendUnavailable` at the deadline or when the child ends, or what it refuses."""
        return self._started().call(operation, arguments, self.deadline_seconds)

    def close(self) -> None:
        with self._lock:
            if self._child:
                self._child.end()
            self._child = None

    def _started(self) -> "_Child":
        with self._lock:
            if self._child is None or self._child.ended:
                if self._child:
                    self._child.end()
                self._child = self._open()
            return self._child

    def _open(self) -> "_Child":
        child = _Child(self._python)
        try:
            text = _configuration(self._section, child.folder)
            arguments = {
                "volume_driver": self._volume_driver,
                "section": self._section.name,
                "configuration": text,
            }
            child.call("open", arguments, max(self.deadline_seconds, LEAST_TO_START_SECONDS))
        except BaseException:
            child.end()
            raise
        return child


class _Child:
    """One child, from its start to its end."""

    def __init__(self, python: str) -> None:
        self.ended = False
        self._scratch = tempfile.TemporaryDirectory(prefix="snapmanage-cinder-", ignore_cleanup_errors=True)
        self.folder = self._scratch.name
        self._socket, theirs = socket.socketpair()
        program = _PROGRAM.format(root=str(_ROOT), descriptor=theirs.fileno(), folder=self.folder)
        try:
            self._process = _run([python, "-P", "-W", "ignore", "-c", program], theirs.fileno())
        except BaseException:
            self._socket.close()
            self._scratch.cleanup()
            raise
        finally:
            theirs.close()
        self._lock = threading.Lock()
        self._serial = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        threading.Thread(target=self._read, name="cinder answers", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def waited_for(self) -> int:
        """Calls under way."""
        return len(self._waiting)

    def call(self, operation: str, arguments: Mapping[str, Any], deadline_seconds: float) -> Any:
        answer = self._ask(operation, arguments)
        try:
            return answer.result(deadline_seconds)
        except DeadlinePassed:
            self.end()
            raise errors.BackendUnavailable(
                f"the vendor's driver didn't answer {operation!r} within {deadline_seconds:g} s, and was ended"
            ) from None

    def end(self) -> None:
        """End it, and with it every call under way."""
        self.ended = True
        self._process.kill()
        self._process.wait()
        with self._lock:
            self._socket.close()
        self._scratch.cleanup()

    def _ask(self, operation: str, arguments: Mapping[str, Any]) -> Future[Any]:
        answer: Future[Any] = Future()
        with self._lock:
            serial = next(self._serial)
            self._waiting[serial] = answer
            line = json.dumps({"id": serial, "operation": operation, "arguments": arguments})
            try:
                self._socket.sendall(line.encode() + b"\n")
            except OSError:
                self.ended = True
                answer.set_exception(_went_away())
        return answer

    def _read(self) -> None:
        """Hand answers to who waits for them, until the child ends; then nobody need wait any longer."""
        try:
            with self._socket.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    self._heard(json.loads(line))
        except (OSError, ValueError):
            LOG.warning("The process of a vendor's driver ended in the middle of an answer.")
        self.ended = True
        with self._lock:
            left = list(self._waiting.values())
        for answer in left:
            if not answer.done():
                answer.set_exception(_went_away())

    def _heard(self, message: Mapping[str, Any]) -> None:
        if "log" in message:
            logging.getLogger(message["name"]).log(message["log"], "%s", message["text"])
            return
        with self._lock:
            answer = self._waiting.pop(message["id"])
        if "error" in message:
            answer.set_exception(_ERRORS[message["error"]](f"the vendor's driver says: {message['text']}"))
        else:
            answer.set_result(message["value"])


def _run(argv: Sequence[str], descriptor: int) -> subprocess.Popen[bytes]:
    try:
        # In a session of its own, so that Ctrl-C doesn't reach it before snapmanage has drained.
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[descriptor],
            start_new_session=True,
        )
    except OSError as failure:
        raise errors.ConfigurationError(f"can't run {argv[0]!r} ({failure.strerror}): mend cinder_python") from failure


def _configuration(section: Section, folder: str) -> str:
    """The configuration file of the child's Cinder: the backend's section, and a place for its locks."""
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


def _went_away() -> errors.BackendUnavailable:
    return errors.BackendUnavailable("the process of the vendor's driver ended; it is started again")
