"""How a caller names an existing backend object, and where backends are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snapmanage import errors

__all__ = ["Location", "Reference"]

# A deeper one could be read here, and then exceed what JSON can be written with inside of an event.
DEEPEST = 32


@dataclass(frozen=True)
class Reference:
    """`ref` on the wire: an object such as `{"source-name": "disk1.img@daily"}`.

    A string means `{"source-name": string}`. Two references are the same when their `text` is.
    """

    text: str

    @classmethod
    def of(cls, value: str | Mapping[str, Any]) -> "Reference":
        """Read what a caller sent; `InvalidReference` when it names nothing."""
        if isinstance(value, str):
            value = {"source-name": value}
        if not isinstance(value, Mapping) or not value:
            raise errors.InvalidReference("ref must be an object such as {'source-name': NAME}, or a name")
        if depth(value) > DEEPEST:
            raise errors.InvalidReference(f"ref is nested more than {DEEPEST} levels deep")
        try:
            return cls(json.dumps(dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False))
        except ValueError as error:
            raise errors.InvalidReference(f"ref must be JSON: {error}") from error

    @classmethod
    def named(cls, name: str) -> "Reference":
        """The reference to a name; a listing makes thousands, so it is written as `of` would without its checks."""
        return cls(f'{{"source-name":{json.dumps(name)}}}')

    @property
    def value(self) -> dict[str, Any]:
        """The object as it goes on the wire."""
        loaded: dict[str, Any] = json.loads(self.text)
        return loaded

    def name(self, key: str = "source-name") -> str:
        """The text under the one key that a driver takes; `InvalidReference` for any other shape."""
        match self.value:
            case {**fields} if set(fields) == {key} and isinstance(fields[key], str) and fields[key]:
                return str(fields[key])
        raise errors.InvalidReference(f"the reference {self.text} must have exactly one key, {key!r}, with a name")


@dataclass(frozen=True)
class Location:
    """`host@backend#pool`; the pool may be absent."""

    host: str
    backend: str
    pool: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Location":
        """Read `host@backend` or `host@backend#pool`; `InvalidRequest` otherwise."""
        server, _, pool = text.partition("#")
        host, at, backend = server.partition("@")
        if not (host and at and backend) or "@" in backend:
            raise errors.InvalidRequest(f"host {text!r} must have the form host@backend or host@backend#pool")
        return cls(host, backend, pool or None)

    @property
    def server(self) -> str:
        """`host@backend`: the address of the server that owns the backend."""
        return f"{self.host}@{self.backend}"

    def __str__(self) -> str:
        return f"{self.server}#{self.pool}" if self.pool else self.server


def depth(value: Any) -> int:
    """Levels of nesting, counted without recursion: what came may be as deep as it likes."""
    level, levels = [value], 0
    while level:
        nested = [each for each in level if isinstance(each, Mapping | list)]
        level = [part for each in nested for part in (each.values() if isinstance(each, Mapping) else each)]
        levels += bool(nested)
    return levels
