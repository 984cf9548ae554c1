"""The tokens that keystonemiddleware has found valid, and the limit of those that it validates at the same time.

Its own cache in memory has no limit. A validation waits for Keystone and costs processor time, and any client can
invent tokens.
"""

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import cachetools

from snapmanage import errors

# A token takes some kB, with its roles and its catalog of services.
MOST_TOKENS = 1000
BUSY_SECONDS = 1
# The part of the places for clients without another validation and without a refused token is one of so many.
RESERVED_SHARE = 4
# A refused token counts for so long, and for so many clients; a further client replaces the oldest one.
REFUSED_SECONDS = 60.0
MOST_REFUSED = 10_000
# The key in a WSGI environment under which keystonemiddleware finds the cache.
CACHE = "snapmanage.tokens"


class TokenCache:
    """A cache of up to `MOST_TOKENS` tokens in the form that keystonemiddleware requires; thread-safe.

    A token that exceeds the number replaces the one that was used least recently. It is kept for `seconds`.
    """

    def __init__(self, seconds: float) -> None:
        self._tokens: cachetools.TTLCache[str, bytes] = cachetools.TTLCache(MOST_TOKENS, seconds)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._tokens)

    def __bool__(self) -> bool:
        """Return True: keystonemiddleware replaces a cache that is false, so an empty one, by its own."""
        return True

    def get(self, key: str) -> bytes | None:
        with self._lock:
            return self._tokens.get(key)

    def set(self, key: str, value: bytes, time: float = 0) -> None:
        """Keep a token; `time` is the middleware's option token_cache_time, which `seconds` has too."""
        with self._lock:
            self._tokens[key] = value


class Validations:
    """The tokens that are being validated: up to `places` at the same time, which leave threads for other requests.

    A token that was found valid less than `seconds` ago takes no place, since it is probably in the cache. A quarter of
    the places is reserved for clients that validate nothing else and have sent no refused token in the last minute, so
    that a client that invents tokens keeps out no other.
    """

    def __init__(self, places: int, seconds: float) -> None:
        self._places = places
        self._reserved = max(1, places // RESERVED_SHARE) if places > 1 else 0
        self._running: Counter[str] = Counter()
        self._accepted: cachetools.TTLCache[str, bool] = cachetools.TTLCache(MOST_TOKENS, seconds)
        self._refused: cachetools.TTLCache[str, bool] = cachetools.TTLCache(MOST_REFUSED, REFUSED_SECONDS)
        self._lock = threading.Lock()

    @contextmanager
    def admitted(self, client: str, *tokens: str) -> Iterator[None]:
        """Hold a place during a validation for a client, unless all tokens were accepted lately.

        The tokens count as accepted if no error is raised, and as refused after `NotAuthenticated`. Raise
        `TooManyRequests` if no place is free for the client.
        """
        key = hashlib.sha256("\0".join(tokens).encode()).hexdigest()
        taken = self._take_place(client, key) if any(tokens) else False
        try:
            yield
            with self._lock:
                self._accepted[key] = True
        except errors.NotAuthenticated:
            if taken:
                with self._lock:
                    self._refused[client] = True
            raise
        finally:
            if taken:
                self._free_place(client)

    def _take_place(self, client: str, key: str) -> bool:
        """Take a place for new tokens and return True; return False for tokens that were accepted lately."""
        with self._lock:
            if key in self._accepted:
                return False
            kept_free = self._reserved if client in self._running or client in self._refused else 0
            if self._running.total() + kept_free >= self._places:
                raise errors.TooManyRequests("Too many tokens are being validated; try again.", BUSY_SECONDS)
            self._running[client] += 1
            return True

    def _free_place(self, client: str) -> None:
        with self._lock:
            self._running[client] -= 1
            if not self._running[client]:
                del self._running[client]
