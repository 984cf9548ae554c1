"""The selectors of `list`, `plan` and `undo`, decided for one snapshot after the other."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from snapmanage import errors
from snapmanage.client.selection.found import Found
from snapmanage.client.selection.retention import Candidate, Retention
from snapmanage.core.lists import selectors
from snapmanage.core.lists.selectors import Selectors
from snapmanage.core.values.text import cut


@dataclass(frozen=True)
class Criteria:
    """A snapshot is selected if it passes all selectors; an empty selector passes every snapshot.

    Globs are compared with the whole name and with the name without its volume. Times are exclusive; a snapshot
    without a known time passes no selector of times. Sizes are GiB. `origins` and `classes` ignore the case.
    """

    names: tuple[str, ...] = ()
    name_regex: str | None = None
    excluded: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    before: datetime | None = None
    after: datetime | None = None
    min_size: int | None = None
    max_size: int | None = None
    origins: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    orphans: bool = False
    retention: Retention = field(default_factory=Retention)

    def passes(self, found: Found) -> bool:
        """Return whether a snapshot passes all selectors but the retention, which depends on all snapshots."""
        return (
            (not self.names or _any(self._names, found.name, found.own_name))
            and (self._regex is None or self._regex.search(found.name) is not None)
            and not _any(self._excluded, found.name, found.own_name)
            and (not self.volumes or (found.parent is not None and _any(self._volumes, found.parent)))
            and self._passes_times(found.made_at)
            and self._sizes.select(found.name, found.size_gb, found.parent)
            and (not self.origins or any(selectors.is_same(each, found.origin) for each in self.origins))
            and (not self.classes or any(selectors.is_same(each, found.origin_class) for each in self.classes))
        )

    def _passes_times(self, at: datetime | None) -> bool:
        return (self.before is None or (at is not None and at < self.before)) and (
            self.after is None or (at is not None and self.after < at)
        )

    def retained(self, passed: Iterable[Candidate]) -> set[str] | None:
        """Return the keys that the retention chooses of the snapshots that passed; None if it chooses all."""
        return None if self.retention.is_empty else self.retention.chosen(passed)

    @property
    def needs_times(self) -> bool:
        """Return whether a selector compares times of creation."""
        return self.before is not None or self.after is not None or not self.retention.is_empty

    def as_json(self) -> dict[str, Any]:
        """Return the selectors in use, for the first line of a plan."""
        fields: Mapping[str, Any] = {
            "name": list(self.names),
            "name_regex": self.name_regex,
            "exclude": list(self.excluded),
            "volume": list(self.volumes),
            "created_before": self.before.isoformat() if self.before else None,
            "created_after": self.after.isoformat() if self.after else None,
            "min_size": self.min_size,
            "max_size": self.max_size,
            "origin": list(self.origins),
            "class": list(self.classes),
            "orphans": self.orphans or None,
            "latest": self.retention.latest,
            "keep": dict(self.retention.keep),
        }
        return {name: value for name, value in fields.items() if value not in (None, [], {})}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> "Criteria":
        """Read the result of `as_json`."""
        times = {
            name: datetime.fromisoformat(value[name]) for name in ("created_before", "created_after") if value.get(name)
        }
        return cls(
            names=tuple(value.get("name", ())),
            name_regex=value.get("name_regex"),
            excluded=tuple(value.get("exclude", ())),
            volumes=tuple(value.get("volume", ())),
            before=times.get("created_before"),
            after=times.get("created_after"),
            min_size=value.get("min_size"),
            max_size=value.get("max_size"),
            origins=tuple(value.get("origin", ())),
            classes=tuple(value.get("class", ())),
            orphans=bool(value.get("orphans")),
            retention=Retention(value.get("latest"), value.get("keep", {})),
        )

    @cached_property
    def _names(self) -> Sequence[re.Pattern[str]]:
        return _expressions(self.names)

    @cached_property
    def _excluded(self) -> Sequence[re.Pattern[str]]:
        return _expressions(self.excluded)

    @cached_property
    def _volumes(self) -> Sequence[re.Pattern[str]]:
        return _expressions(self.volumes)

    @cached_property
    def _sizes(self) -> Selectors:
        return Selectors(min_size=self.min_size, max_size=self.max_size, orphans=self.orphans or None)

    @cached_property
    def _regex(self) -> re.Pattern[str] | None:
        return None if self.name_regex is None else regular_expression(self.name_regex)


def regular_expression(text: str) -> re.Pattern[str]:
    """Compile `--name-regex`; raise `InvalidRequest` if it is no regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise errors.InvalidRequest(f"--name-regex {cut(repr(text))} is not a regular expression: {error}") from None


def _expressions(globs: Iterable[str]) -> Sequence[re.Pattern[str]]:
    return tuple(map(selectors.expression, globs))


def _any(patterns: Sequence[re.Pattern[str]], *texts: str) -> bool:
    return any(pattern.match(text) is not None for pattern in patterns for text in texts)
