"""The fields of an event that the API shows: a payload is valid at each limit, and not one beyond it."""

from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core import events
from snapmanage.core.audit.payloads import LONGEST_FIELD, require_valid
from snapmanage.core.events import Step
from snapmanage.core.values.text import LONGEST_REASON
from tests import examples


def check(**fields: Any) -> None:
    event = events.announce(examples.snapshot(generation=1), Step.END, examples.NOW)
    require_valid(event.event_type, {**event.payload, **fields})


def reason(code: int = 1, text: int = 1) -> dict[str, Any]:
    return {"reason": {"code": "c" * code, "text": "t" * text}}


@pytest.mark.parametrize(
    ("fits", "beyond"),
    [
        ({"occurred_at": "x" * LONGEST_FIELD}, {"occurred_at": "x" * (LONGEST_FIELD + 1)}),
        ({"status": "x" * LONGEST_FIELD}, {"status": "x" * (LONGEST_FIELD + 1)}),
        ({"attempt": 2**31 - 1}, {"attempt": 2**31}),
        (reason(code=LONGEST_FIELD), reason(code=LONGEST_FIELD + 1)),
        (reason(text=LONGEST_REASON + 1), reason(text=LONGEST_REASON + 2)),
    ],
    ids=["time", "status", "attempt", "code of a reason", "text of a reason"],
)
def test_field_at_its_limit_is_valid_and_one_beyond_is_refused(fits: dict[str, Any], beyond: dict[str, Any]) -> None:
    check(**fits)

    with pytest.raises(errors.InvalidRequest, match=rf"the payload's {next(iter(beyond))} must be as in event"):
        check(**beyond)
