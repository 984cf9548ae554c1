"""The form of refusals, and the headers of every answer."""

from typing import Any

from snapmanage.api.answers.shapes import object_of
from snapmanage.core.values.text import cut, printable

# The names in the Block Storage API; every other status is a computeFault.
FAULTS = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    422: "unprocessableEntity",
    429: "overLimit",
    503: "serviceUnavailable",
}
# Answers are data for programs: no cache may keep them, and no browser may show them or guess their type.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
# The header of a refusal with the code of its error, as in snapmanage.errors; a refused entry has a field for it.
CODE_HEADER = "Snapmanage-Error-Code"
CODE_FIELD = "error_code"
# Of each answer with the status 503.
RETRY_LATER = {"Retry-After": "5"}
LONGEST_TEXT = 1000


def fault(status: int, text: str) -> dict[str, Any]:
    """Return the body of a refusal; its text, which may repeat a value of the request, is printable and short."""
    message = cut(printable(text[: LONGEST_TEXT + 1]), LONGEST_TEXT)
    return {_fault_name(status): {"code": status, "message": message}}


def fault_schema(status: int) -> dict[str, Any]:
    return object_of({_fault_name(status): object_of({"code": {"const": status}, "message": {"type": "string"}})})


def _fault_name(status: int) -> str:
    return FAULTS.get(status, "computeFault")
