"""Idempotency keys: under one, a client may send a request again, and it is carried out once.

A key belongs to a project. Digests are kept of it and of its request, so that their length doesn't matter.
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
    """A key as a request bears it: whose it is and what it says, and what is asked for under it."""

    key_digest: str
    request_digest: str

    @classmethod
    def of(cls, project_id: str, text: str, operation: str, body: Any) -> "IdempotencyKey":
        """`InvalidRequest` unless the text is one. Bodies that mean the same JSON are the same request."""
        if not re.fullmatch(r"[ -~]{1,255}", text):
            raise errors.InvalidRequest(
                f"{HEADER} must have 1 to 255 printable ASCII characters; make up a UUID for each new request"
            )
        return cls(_digest([project_id, text]), _digest([operation, body]))


@dataclass(frozen=True)
class KeyUse:
    """What a key stands for since its first request: that request, and the record that it made."""

    key_digest: str
    request_digest: str
    record_id: str
    created_at: datetime


def repeats(asked: KeyUse, held: KeyUse, ttl: timedelta) -> bool:
    """Whether `asked` repeats the request that holds the key; `KeyReused` where it is another, within `ttl`."""
    if asked.record_id == held.record_id or held.created_at + ttl <= asked.created_at:
        return False
    if asked.request_digest != held.request_digest:
        raise errors.KeyReused
    return True


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
