"""The strategy `http_basic`: user and password, checked against the bcrypt hashes of an htpasswd file.

oslo.middleware parses the header and checks hashes. Checking a bcrypt hash is slow on purpose, so successful
credentials are remembered for a while.
"""

import hmac
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import falcon
import webob.exc
from oslo_middleware import basic_auth

from snapmanage import errors
from snapmanage.api.access import callers
from snapmanage.api.access.callers import Caller

LOG = logging.getLogger(__name__)

CHALLENGE = 'Basic realm="snapmanage"'
# In bytes. bcrypt ignores all bytes after these.
LONGEST_PASSWORD = 72
MOST_REMEMBERED = 1000
REMEMBERED_SECONDS = 300.0

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_REMEDY = "write it with `htpasswd -nbB USER PASSWORD`"


@dataclass(frozen=True)
class Accounts:
    """The content of an htpasswd file at `stamp`: a line for each user, and one that no password matches."""

    stamp: tuple[int, ...]
    lines: Mapping[str, str]
    stranger: str


class HttpBasic:
    """The strategy `http_basic`: each user of the file is an administrator of the project in the path."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raise `ConfigurationError` if the file can't be used."""
        self._file = file
        self._accounts = read_accounts(file)
        self._memory = Memory(clock)

    def __call__(self, request: falcon.Request, project_id: str | None) -> Caller:
        user, password = _credentials(request.get_header("Authorization") or "")
        accounts = self._current()
        if not self._memory.holds(accounts.stamp, user, password):
            try:  # an unknown user gets a check too, which takes as long as that of a known one
                basic_auth.auth_entry(accounts.lines.get(user, accounts.stranger), password)
            except webob.exc.HTTPException as error:
                raise errors.NotAuthenticated(CHALLENGE) from error
            self._memory.keep(accounts.stamp, user, password)
        return callers.identify(request, project_id, user, "", callers.ADMINISTRATOR, bound=True)

    def _current(self) -> Accounts:
        """Return the file's present accounts; raise `Unavailable` while the file can't be used."""
        try:
            if _stamp(self._file) != self._accounts.stamp:
                self._accounts = read_accounts(self._file)
        except errors.ConfigurationError as error:
            LOG.error(
                "The password file can't be used; every request is answered with 503 until it is fixed: %s", error
            )
            raise errors.Unavailable("Authentication is not possible now; try again later.") from error
        return self._accounts


class Memory:
    """Recently accepted credentials, as digests with a key of this process."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._until: dict[bytes, float] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._until)

    def holds(self, *credentials: object) -> bool:
        return self._until.get(self._digest(credentials), 0) > self._clock()

    def keep(self, *credentials: object) -> None:
        with self._lock:
            while len(self._until) >= MOST_REMEMBERED:
                del self._until[next(iter(self._until))]
            self._until[self._digest(credentials)] = self._clock() + REMEMBERED_SECONDS

    def _digest(self, credentials: tuple[object, ...]) -> bytes:
        return hmac.digest(self._key, repr(credentials).encode(), "sha256")


def read_accounts(file: Path) -> Accounts:
    """Read an htpasswd file; raise `ConfigurationError` if it is empty or has other lines than bcrypt hashes."""
    stamp = _stamp(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _unusable(file, f"can't be read: {error}") from error
    lines: dict[str, str] = {}
    cost = "04"
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if line and not line.startswith("#"):
            user, _, written = line.partition(":")
            known = _HASH.fullmatch(written)
            if not user or known is None:
                raise _unusable(file, f"has no user with a bcrypt hash in line {number}: {_REMEDY}")
            lines.setdefault(user, line)
            cost = max(cost, known[1])
    if not lines:
        raise _unusable(file, f"names no user: {_REMEDY}")
    return Accounts(stamp, lines, f"an unknown user:$2b${cost}${'.' * 53}")


def _credentials(header: str) -> tuple[str, bytes]:
    """Return user and password; raise `NotAuthenticated`, or `InvalidRequest` if they can't be decoded."""
    if not header.lower().startswith("basic "):
        raise errors.NotAuthenticated(CHALLENGE)
    try:
        user, password = basic_auth.parse_token(basic_auth.parse_header({"HTTP_AUTHORIZATION": header}))
    except webob.exc.HTTPException as error:
        raise errors.InvalidRequest(
            "The header Authorization can't be decoded; send Basic and the base64 encoding of USER:PASSWORD."
        ) from error
    if not user.isprintable() or len(user) > callers.LONGEST_NAME or len(password) > LONGEST_PASSWORD:
        raise errors.NotAuthenticated(CHALLENGE)
    return user, password


def _stamp(file: Path) -> tuple[int, ...]:
    """Return values that change with the file; raise `ConfigurationError` if the file can't be read."""
    try:
        now = os.stat(file)
    except OSError as error:
        raise _unusable(file, f"can't be read: {error.strerror}") from error
    return now.st_mtime_ns, now.st_ctime_ns, now.st_ino, now.st_size


def _unusable(file: Path, why: str) -> errors.ConfigurationError:
    return errors.ConfigurationError(f"[oslo_middleware] http_basic_auth_user_file: {file} {why}")
