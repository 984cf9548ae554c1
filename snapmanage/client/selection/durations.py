"""Read the ages and times of selectors: `30d`, `12h`, `2026-11-01`."""

import re
from datetime import UTC, datetime, timedelta

from snapmanage import errors
from snapmanage.core.values.text import cut

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_AGE = re.compile(r"(\d{1,9})([smhdwy])")


def age(option: str, text: str) -> timedelta:
    """Return the time that a text such as `30d` names; raise `InvalidRequest`, which names the option."""
    matched = _AGE.fullmatch(text.strip())
    try:
        if matched:
            return timedelta(seconds=int(matched[1]) * _UNITS[matched[2]])
    except OverflowError:
        pass
    raise errors.InvalidRequest(
        f"{option} must be a number with a unit, such as 30d, not {cut(repr(text))}; the units are s, m, h, d, w and y"
    )


def before(option: str, text: str, now: datetime) -> datetime:
    """Return the time that lies an age before `now`; raise `InvalidRequest` if no such time exists."""
    try:
        return now - age(option, text)
    except OverflowError:
        raise errors.InvalidRequest(f"{option} {cut(text)} is before the year 1; give a shorter age") from None


def moment(option: str, text: str) -> datetime:
    """Return a time in ISO 8601, in UTC if it has no zone; raise `InvalidRequest`, which names the option."""
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise errors.InvalidRequest(
            f"{option} must be a date or a time such as 2026-01-31T12:00:00Z, not {cut(repr(text))}"
        ) from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)
