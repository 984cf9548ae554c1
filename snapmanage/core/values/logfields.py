"""The `name=value` fields of log lines, in one form everywhere, so that an operator can grep for them."""

import json
import re

from snapmanage.core.records import Record
from snapmanage.core.values.text import LONGEST_REASON, cut

_PLAIN = re.compile(r"[!#-~]+")


def fields(record: Record | None = None, /, **values: object) -> str:
    """Return `name=value` pairs without the values that are None; first those that identify a record and its state.

    A long value is cut. A value with spaces, quotes, control characters or non-ASCII characters is written as a JSON
    string.
    """
    if record is not None:
        own = {
            type(record).__name__.lower(): record.id,
            "backend": record.location.server,
            "generation": record.generation,
            "status": record.status.value,
            "request": record.requester.request_id,
        }
        values = own | values
    texts = {name: cut(str(value), LONGEST_REASON) for name, value in values.items() if value is not None}
    return " ".join(f"{name}={text if _PLAIN.fullmatch(text) else json.dumps(text)}" for name, text in texts.items())
