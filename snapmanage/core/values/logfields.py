"""The `name=value` fields of log lines, in one form everywhere, so that an operator can grep for them."""

import json
import re

from snapmanage.core.records import Record

_PLAIN = re.compile(r"[!#-~]+")


def fields(**values: object) -> str:
    """Return `name=value` pairs without the values that are None.

    A value with spaces, quotes, control characters or non-ASCII characters is written as a JSON string.
    """
    texts = {name: str(value) for name, value in values.items() if value is not None}
    return " ".join(f"{name}={text if _PLAIN.fullmatch(text) else json.dumps(text)}" for name, text in texts.items())


def record_fields(record: Record, **more: object) -> str:
    """Return the fields that identify a record and its state, followed by `more`."""
    return fields(
        **{type(record).__name__.lower(): record.id},
        backend=record.location.server,
        generation=record.generation,
        status=record.status.value,
        request=record.requester.request_id,
        **more,
    )
