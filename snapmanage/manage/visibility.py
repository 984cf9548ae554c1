"""The records that a requester may change."""

from collections.abc import Sequence
from typing import TypeVar

from snapmanage.core.records import Record, Requester

R = TypeVar("R", bound=Record)


def visible(found: Sequence[R], requester: Requester, everywhere: bool) -> R | None:
    """Return the record, unless there is none, it is a tombstone, or the requester may not change it."""
    own = [each for each in found if everywhere or each.requester.project_id == requester.project_id]
    return next((each for each in own if each.deleted_at is None), None)
