"""The JSON text of a page of manageable snapshots or volumes, as the API answers with it.

The server makes it once, and the API puts it into its answer without reading it. On the bus the text is compressed:
its entries are alike, and to escape its quotes twice, as a message needs it, takes more time. Each entry equals that of
`manageable.Manageable.as_wire`, reduced to the fields that the reader gets.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from json.encoder import encode_basestring_ascii
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import BackendVolume
from snapmanage.core.lists import manageable
from snapmanage.core.lists.manageable import Assessment
from snapmanage.core.reference import Reference
from snapmanage.core.values.text import cut, time_text

# Bytes of the text of a page, as many as `bus.envelope.LARGEST_REPLY` admits.
LARGEST = 16 * 1024**2
_NO_TEXT = "this is no text of a page"


class Fields(Enum):
    """The fields of an entry: those of a list without details, all, or all as other than administrators see them."""

    SUMMARY = "summary"
    DETAIL = "detail"
    READERS = "readers"

    @classmethod
    def of(cls, value: Any) -> "Fields":
        """Read the argument of a call; raise `InvalidRequest` for another value."""
        try:
            return cls(value)
        except ValueError:
            known = ", ".join(each.value for each in cls)
            raise errors.InvalidRequest(f"text must be one of {known}, not {cut(repr(value))}") from None


@dataclass(frozen=True)
class PageText:
    """The entries of a page as the text of a JSON list; `last` is the reference of the last one."""

    entries: str
    last: Reference | None = None
    has_next: bool = False

    @classmethod
    def of(cls, page: Sequence[Assessment], has_next: bool, fields: Fields, own_fields: bool = False) -> "PageText":
        write = _summary if fields is Fields.SUMMARY else partial(_detail, fields is Fields.READERS, own_fields)
        entries = f"[{', '.join(map(write, page))}]"
        return cls(entries, Reference.named(page[-1].found.name) if page else None, has_next)

    @classmethod
    def of_wire(cls, answer: Mapping[str, Any]) -> "PageText":
        """Read the result of `as_wire`; raise `ValueError` for another value."""
        try:
            match answer:
                case {"entries": str(packed), "last": dict() | None as last, "has_next": bool(has_next)}:
                    return cls(_unpacked(packed), Reference.of(last) if last else None, has_next)
        except (ValueError, zlib.error, errors.InvalidReference) as error:
            raise ValueError(f"{_NO_TEXT}: {error}") from error
        raise ValueError(_NO_TEXT)

    def as_wire(self) -> dict[str, Any]:
        """Return the text for the bus; raise `InvalidRequest` if it is larger than an answer may be."""
        if len(self.entries) > LARGEST:
            raise errors.InvalidRequest(
                f"the answer has {len(self.entries)} bytes, and the limit is {LARGEST}; request a shorter list with "
                "`limit`"
            )
        packed = base64.b64encode(zlib.compress(self.entries.encode(), level=1)).decode()
        return {"entries": packed, "last": self.last.value if self.last else None, "has_next": self.has_next}


def _unpacked(packed: str) -> str:
    """Return the text; raise `ValueError` or `zlib.error` if it is none, or too large."""
    reader = zlib.decompressobj()
    text = reader.decompress(base64.b64decode(packed, validate=True), LARGEST)
    if not reader.eof or not text.startswith(b"[") or not text.endswith(b"]"):
        raise ValueError("the text is no list, or is too large")
    return text.decode("ascii")


def _summary(assessed: Assessment) -> str:
    return f"{_shared(assessed)}}}"


def _detail(for_readers: bool, own_fields: bool, assessed: Assessment) -> str:
    reason, record_id, extra = assessed.reason_not_safe, assessed.record_id, manageable.extra_info(assessed)
    if for_readers:
        reason, record_id = manageable.reason_for_readers(reason), None
        extra = manageable.extra_for_readers(extra)
    own = _own(assessed) if own_fields else ""
    shown = f'"reason_not_safe": {_text(reason)}, "extra_info": {_extra(extra)}, "cinder_id": {_text(record_id)}'
    return f"{_shared(assessed)}, {shown}{own}}}"


def _shared(assessed: Assessment) -> str:
    """Return the beginning of each entry."""
    found = assessed.found
    safe = "true" if assessed.reason_not_safe is None else "false"
    source = "" if isinstance(found, BackendVolume) else _source(found.parent)
    name = encode_basestring_ascii(found.name)
    return f'{{"reference": {{"source-name": {name}}}, "size": {found.size_gb}, "safe_to_manage": {safe}{source}'


@lru_cache(1024)
def _source(parent: str | None) -> str:
    name = f'"source-name": {encode_basestring_ascii(parent)}' if parent else ""
    return f', "source_reference": {{{name}}}'


def _own(assessed: Assessment) -> str:
    identity, created_at = assessed.found.identity or None, assessed.found.created_at
    texts = (_text(identity), _text(time_text(created_at) if created_at else None))
    return "".join(f", {_NAMES[name]}: {text}" for name, text in zip(manageable.OWN_FIELDS, texts, strict=True))


def _text(value: str | None) -> str:
    return "null" if value is None else encode_basestring_ascii(value)


def _extra(extra: Any) -> str:
    return json.dumps(dict(extra)) if extra else "null"


_NAMES = {name: json.dumps(name) for name in manageable.OWN_FIELDS}
