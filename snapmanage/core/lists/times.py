"""Filters of a list by time, such as `created_at=gte:2026-01-31T00:00:00Z,lt:2026-02-01T00:00:00Z`."""

from datetime import UTC

from snapmanage import errors
from snapmanage.core.lists.filters import moment
from snapmanage.core.lists.paging import TimeFilter, limit_number
from snapmanage.core.values.text import cut

OPERATORS = ("gt", "gte", "eq", "neq", "lt", "lte")


def parse(name: str, text: str) -> list[TimeFilter]:
    """Return the comparisons of a parameter, which has the column's name; raise `InvalidRequest` for another form."""
    parts = text.split(",")
    limit_number(name, "comparisons", len(parts), len(OPERATORS))
    return [_comparison(name, part) for part in parts]


def _comparison(name: str, text: str) -> TimeFilter:
    operator, colon, time = text.partition(":")
    if not colon or operator not in OPERATORS:
        raise errors.InvalidRequest(
            f"{name} must be OPERATOR:TIME,… with operators of {', '.join(OPERATORS)}, not {cut(text)!r}"
        )
    try:
        return TimeFilter(name, operator, moment(name, time).astimezone(UTC))
    except OverflowError as error:
        raise errors.InvalidRequest(f"{name} has a time that no record can have: {cut(time)!r}") from error
