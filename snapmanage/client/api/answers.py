"""Answers of the API, and the errors of the client programs that they cause."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snapmanage import errors
from snapmanage.core.values.text import readable

# Answers after which the service has not carried out the request.
BUSY = frozenset({429, 503})
CODE_HEADER = "Snapmanage-Error-Code"
# The field of a refused entry of a batch that has the code.
CODE_FIELD = "error_code"


class Refused(errors.Invalid):
    """The service has refused a request with the HTTP status `status`, and perhaps with a code."""

    code = "refused"

    def __init__(self, status: int, text: str, error_code: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.error_code = error_code


@dataclass(frozen=True)
class Answer:
    """An answer: its status, its JSON body (empty if it has none), and its headers."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        return self.status < 300

    @property
    def message(self) -> str:
        """Return the text of an error, printable and cut."""
        return message_of(self.body) or f"the service answered {self.status} without a text"

    @property
    def error_code(self) -> str | None:
        """Return the code of a refusal; services other than snapmanage send none."""
        return code_in(self.headers.get(CODE_HEADER))

    @property
    def retry_after_seconds(self) -> float | None:
        """Return the time of the header Retry-After, if it is a number."""
        text = self.headers.get("Retry-After", "")
        return float(text) if text.isascii() and text.isdigit() else None

    def required(self) -> Mapping[str, Any]:
        """Return the body; raise `Refused` with the text of the answer unless it reports a success."""
        if not self.is_success:
            raise Refused(self.status, self.message, self.error_code)
        return self.body


def code_in(value: object) -> str | None:
    """Return a value that the service sends as the code of an error, or None if it is none."""
    return value if isinstance(value, str) and re.fullmatch("[a-z_]{1,64}", value) else None


def message_of(body: Mapping[str, Any]) -> str | None:
    """Return the text of an error's body, `{"badRequest": {"message": …}}`, or None."""
    for value in body.values():
        if isinstance(value, Mapping) and isinstance(value.get("message"), str):
            return readable(value["message"])
    return None


def next_marker(query: Mapping[str, Any], marker: str) -> str:
    """Return the marker of the next page; raise `Unavailable` if it is that of the last one, so the list never ends."""
    if query.get("marker") == marker:
        raise errors.Unavailable(f"the list has no end: two pages end with {readable(marker)}; check the service")
    return marker
