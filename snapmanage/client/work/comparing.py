"""Compare a plan with its backends as they are now."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from snapmanage.client.api.http import Api
from snapmanage.client.plan.entries import FROM_FILE, Entry, Manage, Skip
from snapmanage.client.plan.file import PlanFile
from snapmanage.client.plan.spool import Spool
from snapmanage.client.selection.criteria import Criteria
from snapmanage.client.selection.found import Found
from snapmanage.client.work.labelled import LabelledRecords
from snapmanage.client.work.members import Members
from snapmanage.client.work.selecting import Scans

# The key of an entry in the order of plans and scans.
Place = tuple[str, str, str]


class Kind(Enum):
    """How a snapshot differs from the plan."""

    CHANGED = "changed"
    GONE = "gone"
    NEW = "new"


@dataclass(frozen=True)
class Difference:
    kind: Kind
    host: str
    name: str
    text: str


@dataclass(frozen=True)
class _Planned:
    """The facts of an entry that the comparison needs; `entry` is None for a skipped snapshot."""

    host: str
    name: str
    entry: Manage | None

    def place(self) -> tuple[str, str]:
        return self.host, self.name


def differences(api: Api, plan: PlanFile, scans: Scans) -> Iterator[Difference]:
    """Yield the differences: changed and missing snapshots of the plan, and new ones that its selectors choose.

    The snapshots that the plan has adopted do not count.
    """
    is_chosen = _choice(plan, scans)
    adopted = LabelledRecords(api, plan.header.label, Members(plan)).outcomes("snapshots")
    with Spool[_Planned](key=_Planned.place) as planned, Spool[Found](key=_by_name) as found:
        for entry in plan:
            if (kept := _planned(entry)) is not None and (kept.entry is None or kept.entry.key not in adopted):
                planned.add(kept)
        for each in scans.entries:
            found.add(each)
        for one, other in _paired(iter(planned), iter(found)):
            yield from _difference(one, other, is_chosen)


def _choice(plan: PlanFile, scans: Scans) -> Callable[[Found], bool]:
    """Return whether the plan would have chosen a snapshot; a plan of the rows of a file chooses no other."""
    selector = Criteria.of_json(plan.header.selector)
    if FROM_FILE in plan.header.selector:
        return lambda _: False
    if selector.retention.is_empty:
        return selector.passes
    retained = {_by_name(found) for found in scans.selected(selector)}
    return lambda found: _by_name(found) in retained


def _planned(entry: Entry) -> _Planned | None:
    match entry:
        case Manage():
            return _Planned(entry.host, entry.source, entry)
        case Skip():
            return _Planned(entry.host, entry.source, None)
    return None


def _by_name(found: Found) -> tuple[str, str]:
    return found.host, found.name


def _paired(planned: Iterator[_Planned], scan: Iterator[Found]) -> Iterator[tuple[_Planned | None, Found | None]]:
    """Yield the entries and the scanned snapshots of the same host and name together, and the others alone."""
    one, other = next(planned, None), next(scan, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.place() < _by_name(other)):
            yield one, None
            one = next(planned, None)
        elif one is None or _by_name(other) < one.place():
            yield None, other
            other = next(scan, None)
        else:
            yield one, other
            one, other = next(planned, None), next(scan, None)


def _difference(one: _Planned | None, other: Found | None, is_chosen: Callable[[Found], bool]) -> Iterator[Difference]:
    if one is None:
        assert other is not None
        if is_chosen(other) and not other.is_managed:
            yield Difference(Kind.NEW, other.host, other.name, "it is not in the plan")
    elif other is None:
        if one.entry is not None:
            yield Difference(Kind.GONE, one.host, one.name, "it is not on the backend")
    elif one.entry is not None:
        clauses = one.entry.expect.differences(other)
        if other.is_managed:
            clauses.append("another record owns it")
        elif not other.is_safe and not one.entry.warnings:
            clauses.append(f"it is not safe to manage: {other.reason_not_safe}")
        if clauses:
            yield Difference(Kind.CHANGED, one.host, one.name, "; ".join(clauses))
