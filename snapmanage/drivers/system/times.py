"""Times that a storage system reports, as values of the calendar.

Any user may set the time of the last change of its file, and a clock may have been wrong, so a time may lie outside of
the calendar. Then it is unknown: one such object must not hide the others of its backend.
"""

from datetime import UTC, datetime

__all__ = ["creation_time"]


def creation_time(seconds: float) -> datetime | None:
    """Return the time in UTC; None for 0, and for a time outside of the calendar."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        return None
