"""The query of a list: filters, order, and page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from snapmanage import errors

# Each pair and each key adds conditions to the statement of a list.
MOST_PAIRS = 10
MOST_SORT_KEYS = 4
# Characters of a part of a text. No column has longer texts, and SQLite refuses patterns of more than 50,000 bytes.
LONGEST_PART = 255
NEWEST_FIRST = (("created_at", "desc"),)


@dataclass(frozen=True)
class TimeFilter:
    """A comparison of a column with a time; a row without a time in this column never fits."""

    column: str
    operator: str
    moment: datetime


@dataclass(frozen=True)
class ListQuery:
    """The filters, the order and the page of a list.

    `project_id` None means every project. `equal` compares columns with a value, or with each value of a tuple. `like`
    looks for parts of texts, `metadata` requires pairs, and `times` compares times. `owned` says whether the records
    own an object. With `never` the list is empty. `sort` holds pairs of a column and a direction, `asc` or `desc`.
    The page begins after the row with the id `marker`.

    Raise `InvalidRequest` for more than `MOST_PAIRS` pairs or `MOST_SORT_KEYS` columns, or a part of a text with more
    than `LONGEST_PART` characters.
    """

    project_id: str | None
    equal: Mapping[str, Any] = field(default_factory=dict)
    like: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    times: Sequence[TimeFilter] = ()
    owned: bool | None = None
    never: bool = False
    sort: Sequence[tuple[str, str]] = NEWEST_FIRST
    limit: int = 1000
    offset: int = 0
    marker: str | None = None

    def __post_init__(self) -> None:
        limit_number("metadata", "pairs", len(self.metadata), MOST_PAIRS)
        limit_number("sort", "keys", len(self.sort), MOST_SORT_KEYS)
        for column, part in self.like.items():
            limit_number(f"{column}~", "characters", len(part), LONGEST_PART)

    @property
    def plain(self) -> bool:
        """Return whether the query has no filter, no marker, and the default order."""
        filtered = self.equal or self.like or self.metadata or self.times or self.never
        return not filtered and self.owned is None and self.marker is None and tuple(self.sort) == NEWEST_FIRST


def limit_number(name: str, things: str, number: int, most: int) -> None:
    """Raise `InvalidRequest` if a parameter has more than `most` parts."""
    if number > most:
        raise errors.InvalidRequest(f"{name} has {number} {things}; the limit is {most}, so send fewer")
