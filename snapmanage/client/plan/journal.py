"""The journal beside a plan: the requests for its entries, and their outcomes. It is a cache of the records."""

import fcntl
import json
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Any

from snapmanage import errors
from snapmanage.core.values.text import readable

SUFFIX = ".journal"


class State(Enum):
    """The last known state of an entry.

    A request may have arrived from SENDING on. DONE, FAILED and UNDONE are final, but FAILED without a record is sent
    again by the next run.
    """

    SENDING = "sending"
    ACCEPTED = "accepted"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of the entry `key`; `why` is the code and `text` the sentence of a failure."""

    key: str
    state: State
    record_id: str | None = None
    why: str | None = None
    text: str | None = None

    def as_json(self) -> dict[str, Any]:
        fields = {"key": self.key, "state": self.state.value, "id": self.record_id, "why": self.why, "text": self.text}
        return {name: value for name, value in fields.items() if value is not None}

    @classmethod
    def of_json(cls, value: Any) -> "Outcome":
        return cls(value["key"], State(value["state"]), value.get("id"), value.get("why"), value.get("text"))


class Journal:
    """The open journal of a plan. `latest` has the last outcome of each entry."""

    def __init__(self, descriptor: int, plan_id: str, path: Path) -> None:
        self.latest: dict[str, Outcome] = {}
        self._descriptor = descriptor
        self._path = path
        self._lock = threading.Lock()
        self._replay(plan_id, path)

    def write(self, outcomes: Iterable[Outcome], durable: bool = False) -> None:
        """Append outcomes; with `durable` they survive a crash of the machine before this method returns.

        Raise `Unavailable` if the file can't be written.
        """
        outcomes = list(outcomes)
        text = "".join(json.dumps(each.as_json(), separators=(",", ":")) + "\n" for each in outcomes)
        with self._lock, _reported(self._path):
            _write_whole(self._descriptor, text.encode())
            if durable:
                os.fdatasync(self._descriptor)
            self.latest.update((each.key, each) for each in outcomes)

    def _replay(self, plan_id: str, path: Path) -> None:
        with os.fdopen(os.dup(self._descriptor), encoding="utf-8", errors="replace") as file:
            file.seek(0)
            has_owner, self.latest = _replayed(file, plan_id, path)
            first = json.dumps({"plan": plan_id})
            if not has_owner:
                _require_part(file, first, path)
        with _reported(path):
            if not has_owner:
                os.ftruncate(self._descriptor, 0)
                _write_whole(self._descriptor, first.encode())
            _write_whole(self._descriptor, b"\n")  # ends a line that was cut off


@contextmanager
def opened(plan: Path, plan_id: str) -> Iterator[Journal]:
    """Open the journal of a plan, created if it is missing, for one process at a time.

    Raise `InvalidRequest` if another process has it open, or if it is no file of this user.
    """
    path = plan.with_name(plan.name + SUFFIX)
    descriptor = _open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        _require_own_file(descriptor, path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.InvalidRequest(f"another command works on {readable(str(plan))}; wait for its end") from None
        yield Journal(descriptor, plan_id, path)
    finally:
        os.close(descriptor)


def read(plan: Path, plan_id: str) -> dict[str, Outcome]:
    """Return the last outcome of each entry, empty without a journal, while another command may write it."""
    path = plan.with_name(plan.name + SUFFIX)
    if not path.exists():
        return {}
    descriptor = _open(path, os.O_RDONLY)
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as file:
        _require_own_file(descriptor, path)
        return _replayed(file, plan_id, path)[1]


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise errors.InvalidRequest(f"{readable(str(path))} can't be opened: {error.strerror}") from error


def _require_own_file(descriptor: int, path: Path) -> None:
    """Raise `InvalidRequest` for a file that another user could have made in order to hide entries from a run."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise errors.InvalidRequest(f"{readable(str(path))} must be a file of this user; move it away")


def _replayed(file: IO[str], plan_id: str, path: Path) -> tuple[bool, dict[str, Outcome]]:
    """Return whether the journal has a whole first line, and the last outcome of each entry.

    Raise `InvalidRequest` if it is the journal of another plan.
    """
    owner, latest = _plan_of(file.readline()), {}
    if owner not in (None, plan_id):
        raise errors.InvalidRequest(f"{readable(str(path))} belongs to the plan {readable(str(owner))}; rename it")
    for line in file:
        with suppress(ValueError, KeyError, TypeError):  # a crash may have cut a line off
            outcome = Outcome.of_json(json.loads(line))
            latest[outcome.key] = outcome
    return owner is not None, latest


def _require_part(file: IO[str], first: str, path: Path) -> None:
    """Raise `InvalidRequest` unless a crash could have left this part of the first line: the rest is lost otherwise."""
    file.seek(0)
    if not first.startswith(file.read(len(first) + 2).strip("\0\n")):
        raise errors.InvalidRequest(f"{readable(str(path))} is not the journal of a plan; move it away")


def _plan_of(line: str) -> str | None:
    """Return the id of the plan in the first line; None if a crash left no whole first line."""
    try:
        return str(json.loads(line)["plan"])
    except (ValueError, KeyError, TypeError):
        return None


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Raise `Unavailable` if the file can't be written: a run that has begun can continue when there is space again."""
    try:
        yield
    except OSError as error:
        raise errors.Unavailable(f"{readable(str(path))} can't be written: {error.strerror}") from error


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
