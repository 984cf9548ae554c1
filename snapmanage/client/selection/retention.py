"""Choose the newest snapshots of each volume, and one of each of the last days, weeks and so on."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from snapmanage import errors
from snapmanage.core.values.text import cut

_PERIODS: Mapping[str, Callable[[datetime], tuple[int, ...]]] = {
    "hourly": lambda at: (at.year, at.month, at.day, at.hour),
    "daily": lambda at: (at.year, at.month, at.day),
    "weekly": lambda at: tuple(at.isocalendar()[:2]),
    "monthly": lambda at: (at.year, at.month),
    "yearly": lambda at: (at.year,),
}
_KEEP = re.compile(r"(\w+)=(\d{1,9})")
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Candidate:
    """The few facts by which retention decides; a list of them fits in memory for any backend."""

    key: str
    group: str
    created_at: datetime | None


@dataclass(frozen=True)
class Retention:
    """The `latest` snapshots of each volume, and the newest of each of the last `keep[PERIOD]` periods with one."""

    latest: int | None = None
    keep: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return self.latest is None and not self.keep

    def chosen(self, candidates: Iterable[Candidate]) -> set[str]:
        """Return the keys of the chosen candidates."""
        groups = defaultdict(list)
        for each in candidates:
            groups[each.group].append(each)
        return {each.key for group in groups.values() for each in self._of_group(group)}

    def _of_group(self, group: Sequence[Candidate]) -> list[Candidate]:
        newest_first = sorted(group, key=lambda each: (each.created_at or _EARLIEST, each.key), reverse=True)
        chosen = newest_first[: self.latest or 0]
        for period, count in self.keep.items():
            chosen += _one_of_each(newest_first, _PERIODS[period], count)
        return chosen


def _one_of_each(
    newest_first: Iterable[Candidate], period: Callable[[datetime], tuple[int, ...]], count: int
) -> list[Candidate]:
    newest: dict[tuple[int, ...], Candidate] = {}
    for each in newest_first:
        if each.created_at is not None:
            newest.setdefault(period(each.created_at.astimezone(UTC)), each)
    return list(newest.values())[:count]


def parse_keep(text: str) -> dict[str, int]:
    """Return the periods of a text such as `daily=7,weekly=4`; raise `InvalidRequest` for another text."""
    periods: dict[str, int] = {}
    for part in text.split(","):
        matched = _KEEP.fullmatch(part.strip())
        if matched is None or matched[1] not in _PERIODS:
            raise errors.InvalidRequest(
                f"--keep must be PERIOD=NUMBER,… such as daily=7,weekly=4, not {cut(repr(text))}; "
                f"the periods are {', '.join(_PERIODS)}"
            )
        periods[matched[1]] = int(matched[2])
    return periods
