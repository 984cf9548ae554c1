"""How a caller names an existing backend object."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Any

from snapmanage import errors
from snapmanage.core.values.text import DEEPEST, walk

__all__ = ["Reference"]

# Values and keys. Each event of the snapshot repeats them, and Python handles a million in seconds.
MOST_VALUES = 1000
# Characters of a reference as JSON in ASCII.
LONGEST_TEXT = 64 * 1024


@dataclass(frozen=True)
class Reference:
    """The field `ref` of a request: an object such as `{"source-name": "disk1.img@daily"}`.

    A string means `{"source-name": string}`. Two references are equal if their texts are.
    """

    text: str

    @classmethod
    def of(cls, value: str | Mapping[str, Any]) -> "Reference":
        """Read the value of a request; raise `InvalidReference` if it names no object."""
        if isinstance(value, str):
            value = {"source-name": value}
        if not isinstance(value, Mapping) or not value:
            raise errors.InvalidReference("ref must be an object such as {'source-name': NAME}, or a name")
        for count, (level, _) in enumerate(walk(value), 1):
            if level > DEEPEST:
                raise errors.InvalidReference(f"ref is nested more than {DEEPEST} levels deep")
            if count > MOST_VALUES:
                raise errors.InvalidReference(f"ref has more than {MOST_VALUES} values")
        try:
            text = json.dumps(dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
        except ValueError as error:
            raise errors.InvalidReference(f"ref must be JSON: {error}") from error
        if len(text) > LONGEST_TEXT:
            raise errors.InvalidReference(f"ref has {len(text)} characters as JSON; the limit is {LONGEST_TEXT}")
        return cls(text)

    @classmethod
    def named(cls, name: str) -> "Reference":
        """Return the reference to a name. A list makes thousands of them, so this skips the checks of `of`."""
        return cls(name_text(name))

    @property
    def value(self) -> dict[str, Any]:
        """Return the object for the wire."""
        loaded: dict[str, Any] = json.loads(self.text)
        return loaded

    def name(self, key: str = "source-name") -> str:
        """Return the name under `key`; raise `InvalidReference` unless the reference has only this key, with a text."""
        match self.value:
            case {**fields} if set(fields) == {key} and isinstance(fields[key], str) and fields[key]:
                return str(fields[key])
        raise errors.InvalidReference(f"the reference {self.text} must have exactly one key, {key!r}, with a name")


def name_text(name: str) -> str:
    """Return the text of the reference to a name."""
    return f'{{"source-name":{encode_basestring_ascii(name)}}}'
