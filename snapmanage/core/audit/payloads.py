"""Rules for the payloads of events: any client that may publish chooses the content of a notification."""

from collections.abc import Callable, Mapping
from typing import Any

from snapmanage import errors
from snapmanage.core.events import Step
from snapmanage.core.records import Status
from snapmanage.core.values.text import DEEPEST_EVENT, LONGEST_REASON, walk

# Values and keys. A request has fewer than half of them; the checks of a million would hold the queue for seconds.
MOST_VALUES = 50_000
# Characters of a time, a status or a code.
LONGEST_FIELD = 255


def require_valid(event_type: str, payload: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` if a payload is too deep, has too many values, or a field that the API shows is wrong.

    The event of a rejected request has generation 0 and ends in an error. The records prove nothing about it, so no
    other event may have this generation.
    """
    for count, (level, _) in enumerate(walk(payload), 1):
        if count > MOST_VALUES:
            raise errors.InvalidRequest(f"the payload has more than {MOST_VALUES} values")
        if level > DEEPEST_EVENT:
            raise errors.InvalidRequest(f"the payload is nested more than {DEEPEST_EVENT} levels deep")
    for name, is_valid in _FIELDS.items():
        if not is_valid(payload[name]):
            raise errors.InvalidRequest(f"the payload's {name} must be as in event.schema.json")
    if payload["generation"] == 0 and not is_rejection(event_type, payload["status"]):
        raise errors.InvalidRequest("only the error event of a rejected request has generation 0")


def is_rejection(event_type: str, status: str = Status.ERROR.value) -> bool:
    """Return whether an event of generation 0 can be that of a rejected request."""
    return event_type.endswith(f".{Step.ERROR.value}") and status == Status.ERROR.value


def _is_field(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_FIELD


def _is_reason(value: Any) -> bool:
    if value is None:
        return True
    # A text that was cut has a mark behind its end.
    texts = {"code": LONGEST_FIELD, "text": LONGEST_REASON + 1}
    return (
        isinstance(value, dict)
        and value.keys() == texts.keys()
        and all(isinstance(value[name], str) and len(value[name]) <= longest for name, longest in texts.items())
    )


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "occurred_at": _is_field,
    "status": _is_field,
    "attempt": lambda value: type(value) is int and 0 <= value < 2**31,
    "reason": _is_reason,
}
