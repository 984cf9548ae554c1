"""Where a backend is: the server that owns it, and its pool."""

from dataclasses import dataclass
from functools import cached_property

from snapmanage import errors
from snapmanage.core.values.text import cut


@dataclass(frozen=True)
class Location:
    """`host@backend#pool`; the pool may be absent."""

    host: str
    backend: str
    pool: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Location":
        """Parse `host@backend` or `host@backend#pool`; raise `InvalidRequest` for any other text."""
        server, _, pool = text.partition("#")
        host, at, backend = server.partition("@")
        if not (host and at and backend) or "@" in backend:
            raise errors.InvalidRequest(f"host {cut(text)!r} must have the form host@backend or host@backend#pool")
        return cls(host, backend, pool or None)

    @cached_property
    def server(self) -> str:
        """`host@backend`: the address of the server that owns the backend."""
        return f"{self.host}@{self.backend}"

    def __str__(self) -> str:
        return f"{self.server}#{self.pool}" if self.pool else self.server


# The location of a snapshot whose volume has not been read yet.
UNPLACED = Location("", "")
