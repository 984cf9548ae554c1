"""The tokens that keystonemiddleware has found valid; its own cache in memory has no limit."""

import threading

import cachetools

# A token takes some kB, with its roles and its catalog of services.
MOST_TOKENS = 1000
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

    def get(self, key: str) -> bytes | None:
        with self._lock:
            return self._tokens.get(key)

    def set(self, key: str, value: bytes, time: float = 0) -> None:
        """Keep a token; `time` is the middleware's option token_cache_time, which `seconds` has too."""
        with self._lock:
            self._tokens[key] = value
