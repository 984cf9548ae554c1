"""The tokens that keystonemiddleware has found valid, and the limit of those that it validates at the same time.

Its own cache in memory has no limit. A validation waits for Keystone and costs processor time, and any client can
invent tokens.
"""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import cachetools

from snapmanage import errors

# A token takes some kB, with its roles and its catalog of services.
MOST_TOKENS = 1000
BUSY_SECONDS = 1
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

    A token that was found valid less than `seconds` ago takes no place, since it is probably in the cache.
    """

    def __init__(self, places: int, seconds: float) -> None:
        self._places = places
        self._running = 0
        self._accepted: cachetools.TTLCache[str, bool] = cachetools.TTLCache(MOST_TOKENS, seconds)
        self._lock = threading.Lock()

    @contextmanager
    def admitted(self, *tokens: str) -> Iterator[None]:
        """Hold a place during a validation, unless all tokens were accepted lately.

        The tokens count as accepted if no error is raised. Raise `TooManyRequests` if all places are taken.
        """
        key = hashlib.sha256("\0".join(tokens).encode()).hexdigest()
        with self._lock:
            taken = int(any(tokens) and key not in self._accepted)
            if taken and self._running >= self._places:
                raise errors.TooManyRequests("Too many tokens are being validated; try again.", BUSY_SECONDS)
            self._running += taken
        try:
            yield
            with self._lock:
                self._accepted[key] = True
        finally:
            with self._lock:
                self._running -= taken
