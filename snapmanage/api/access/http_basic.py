"""The strategy `http_basic`: user and password, checked against the bcrypt hashes of an htpasswd file.

oslo.middleware parses the header and checks hashes. Checking a bcrypt hash is slow on purpose, so successful
credentials are remembered for a while. Each refused check costs as much as the slowest hash of the file, so that its
time shows no names.
"""

import hmac
import logging
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import falcon
import webob.exc
from oslo_middleware import basic_auth

from snapmanage import errors
from snapmanage.api.access import callers, log
from snapmanage.api.access.callers import Caller
from snapmanage.api.access.clients import client_of
from snapmanage.api.access.password_checks import PasswordChecks

LOG = logging.getLogger(__name__)

CHALLENGE = 'Basic realm="snapmanage", charset="UTF-8"'
# In bytes. bcrypt ignores all bytes after these.
LONGEST_PASSWORD = 72
MOST_REMEMBERED = 1000
REMEMBERED_SECONDS = 300.0
# A hash of a lower cost is guessed too fast, and one of a higher cost occupies a processor for seconds.
LOWEST_COST = 10
HIGHEST_COST = 14

_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_REMEDY = "write it with `htpasswd -B -C 12 FILE USER`"


@dataclass(frozen=True)
class Accounts:
    """The content of an htpasswd file at `stamp`: the line and the cost of each user."""

    stamp: tuple[int, ...]
    lines: Mapping[str, str]
    costs: Mapping[str, int]

    @property
    def highest_cost(self) -> int:
        return max(self.costs.values())

    def line(self, user: str) -> str:
        """Return the line of a user; for an unknown user a line that no password matches, of the highest cost."""
        return self.lines.get(user) or f"an unknown user:{_unmatched(self.highest_cost)}"

    def fillers(self, user: str) -> list[str]:
        """Return hashes whose checks, after that of the user's own hash, add up to a check of the highest cost.

        The cost is a power of two: 2^c + (2^c + 2^(c+1) + ... + 2^(h-1)) = 2^h.
        """
        return [_unmatched(cost) for cost in range(self.costs.get(user, self.highest_cost), self.highest_cost)]


class HttpBasic:
    """The strategy `http_basic`: each user of the file is an administrator of the project in the path."""

    def __init__(
        self,
        file: Path,
        checks: PasswordChecks,
        clock: Callable[[], float] = time.monotonic,
        lowest_cost: int = LOWEST_COST,
    ) -> None:
        """Raise `ConfigurationError` if the file can't be used."""
        self._file = file
        self._checks = checks
        self._lowest_cost = lowest_cost
        self._accounts = read_accounts(file, lowest_cost)
        self._memory = Memory(clock)

    def __call__(self, request: falcon.Request, project_id: str | None) -> Caller:
        """Authenticate a request; raise `TooManyRequests` too."""
        user, password = _credentials(request.get_header("Authorization") or "")
        accounts = self._current()
        if not self._memory.holds(accounts.stamp, user, password):
            client = client_of(request.env.get("REMOTE_ADDR"))
            with self._checks.admitted(client):
                self._check(request, client, accounts, user, password)
        return callers.identify(request, project_id, user, "", callers.ADMINISTRATOR, bound=True)

    def _check(self, request: falcon.Request, client: str, accounts: Accounts, user: str, password: bytes) -> None:
        if self._memory.holds(accounts.stamp, user, password):  # an equal request was before this one in the line
            return
        try:
            basic_auth.auth_entry(accounts.line(user), password)
        except webob.exc.HTTPException as error:
            self._checks.add_wrong(client)
            for filler in accounts.fillers(user):
                bcrypt.checkpw(password, filler.encode())
            if user in accounts.lines:  # an unknown name may be a password in the wrong field
                log.note(request.env, claimed=user)
            raise errors.NotAuthenticated(CHALLENGE) from error
        self._memory.keep(accounts.stamp, user, password)

    def _current(self) -> Accounts:
        """Return the file's present accounts; raise `Unavailable` while the file can't be used."""
        try:
            if _stamp(self._file) != self._accounts.stamp:
                self._accounts = read_accounts(self._file, self._lowest_cost)
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


def read_accounts(file: Path, lowest_cost: int = LOWEST_COST) -> Accounts:
    """Read an htpasswd file; warn if every user of the machine can read it.

    Raise `ConfigurationError` if others can change the file, if it is empty, or if it has other lines than bcrypt
    hashes of a cost from `lowest_cost` to `HIGHEST_COST`.
    """
    stamp = _stamp(file)
    _require_mode(file)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _unusable(file, f"can't be read: {error}") from error
    lines: dict[str, str] = {}
    costs: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if line and not line.startswith("#"):
            user, _, written = line.partition(":")
            known = _HASH.fullmatch(written)
            if not user or known is None:
                raise _unusable(file, f"has no user with a bcrypt hash in line {number}: {_REMEDY}")
            if not lowest_cost <= int(known[1]) <= HIGHEST_COST:
                allowed = f"{lowest_cost} to {HIGHEST_COST}"
                raise _unusable(file, f"has a hash of cost {int(known[1])} in line {number}, not {allowed}: {_REMEDY}")
            costs.setdefault(user, int(known[1]))
            lines.setdefault(user, line)
    if not lines:
        raise _unusable(file, f"names no user: {_REMEDY}")
    return Accounts(stamp, lines, costs)


def _require_mode(file: Path) -> None:
    """Raise `ConfigurationError` if other users than the owner can change the file; warn if every user can read it."""
    mode = stat.S_IMODE(os.stat(file).st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _unusable(file, f"has mode {mode:04o}, so that others can add users: run `chmod 640 {file}`")
    if mode & stat.S_IROTH:
        LOG.warning("The password file can be read by every user of this machine; run `chmod 640 %s`", file)


def _unmatched(cost: int) -> str:
    """Return a hash that no password matches."""
    return f"$2b${cost:02}${'.' * 53}"


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
