"""The query of a list: filters, order, and page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ListQuery:
    """The filters, the order and the page of a list.

    `project_id` None means every project. `equal` compares columns, `like` looks for parts of texts, and `metadata`
    requires pairs. With `never` the list is empty. `sort` holds pairs of a column and a direction, `asc` or `desc`.
    The page begins after the row with the id `marker`.
    """

    project_id: str | None
    equal: Mapping[str, Any] = field(default_factory=dict)
    like: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    never: bool = False
    sort: Sequence[tuple[str, str]] = (("created_at", "desc"),)
    limit: int = 1000
    offset: int = 0
    marker: str | None = None
