"""Idempotency keys: a request that a client sends twice under one key is carried out once.

A key belongs to a project. The database keeps digests of key and request, so that their length doesn't matter.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from snapmanage import errors

HEADER = "Idempotency-Key"


@dataclass(frozen=True)
class IdempotencyKey:
    """The key of a request: the digest of its project and text, and the digest of the request."""

    key_digest: str
    request_digest: str

    @classmethod
    def of(
        cls, project_id: str, text: str, operation: str, body: Any, chosen_id: str | None = None
    ) -> "IdempotencyKey":
        """Return the key; raise `InvalidRequest` for an invalid `text`.

        Bodies with equal JSON are one request, unless the client has chosen different ids for the record.
        """
        if not re.fullmatch(r"[ -~]{1,255}", text):
            raise errors.InvalidRequest(
                f"{HEADER} must have 1 to 255 printable ASCII characters; make up a UUID for each new request"
            )
        return cls(_digest([project_id, text]), _digest([operation, body, *([chosen_id] if chosen_id else [])]))


@dataclass(frozen=True)
class KeyUse:
    """The use of a key: its first request, and the record that this request made."""

    key_digest: str
    request_digest: str
    record_id: str
    created_at: datetime


def repeats(requested: KeyUse, held: KeyUse, ttl: timedelta) -> bool:
    """Return whether `requested` repeats the earlier request that holds the key.

    Raise `KeyReused` if another request holds the key and is not older than `ttl`.
    """
    if held.created_at + ttl <= requested.created_at:
        return False
    if requested.request_digest != held.request_digest:
        raise errors.KeyReused
    return True


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
