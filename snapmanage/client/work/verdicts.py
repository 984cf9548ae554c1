"""Decide by a fresh scan, the records and the journal, whether an entry of a plan must still be sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from snapmanage.client.api.records import Record
from snapmanage.client.plan.entries import Manage
from snapmanage.client.plan.journal import Outcome, State
from snapmanage.client.selection.found import Found
from snapmanage.client.work.planning import FORCE, REFUSES

CHANGED = "changed_since_plan"
UNDONE = "undone"
# The statuses of a record whose operation has not ended. Cinder has more of them for volumes than snapmanage.
STARTING = ("creating", "managing")
ENDING = ("unmanaging", "error_managing_deleting")
IN_PROGRESS = frozenset(STARTING + ENDING)
FAILED_STATUS = "error"


@dataclass(frozen=True)
class Send:
    """The entry must be sent."""

    entry: Manage


@dataclass(frozen=True)
class Retry:
    """The record of an entry has failed, and its operation must be carried out again."""

    failed: Outcome


def of_record(key: str, record: Record) -> Outcome:
    """Return the outcome that a record shows."""
    if record.status in IN_PROGRESS:
        return Outcome(key, State.ACCEPTED, record.record_id)
    if record.status.startswith(FAILED_STATUS):
        return Outcome(key, State.FAILED, record.record_id, record.reason_code or "error", record.reason)
    return Outcome(key, State.DONE, record.record_id)


def had_record(noted: Outcome) -> bool:
    """Return whether an outcome of the journal names a record that nobody was known to have unmanaged."""
    return noted.record_id is not None and noted.state is not State.UNDONE


def unmanaged(noted: Outcome) -> Outcome:
    """Return the outcome of an entry whose record is gone."""
    return Outcome(noted.key, State.UNDONE, noted.record_id, UNDONE, "its record was unmanaged")


def decide(
    entry: Manage, found: Found | None, seen: Outcome | None, last: Outcome | None, retries: bool = False
) -> Send | Retry | Outcome:
    """Return `Send`, `Retry` for a failed record if `retries`, or the outcome of an entry that must not be sent.

    `seen` is the outcome that the entry's record shows, `last` that of the journal.
    """
    if seen is not None:
        return _retry(entry, found, seen) if retries and seen.state is State.FAILED else seen
    if last is not None and (last.record_id is not None or last.state is State.UNDONE):
        return Outcome(entry.key, State.UNDONE, last.record_id, UNDONE, "its record was unmanaged; make a new plan")
    if why := _changed(entry, found):
        return Outcome(entry.key, State.FAILED, None, *why)
    return Send(entry)


def _retry(entry: Manage, found: Found | None, failed: Outcome) -> Retry | Outcome:
    """Return `Retry` unless another object has the name now; the object of the record may have a new name already."""
    differences = entry.expect.differences(found) if found is not None else []
    if differences:
        return Outcome(entry.key, State.FAILED, failed.record_id, CHANGED, "; ".join(differences))
    return Retry(failed)


def _changed(entry: Manage, found: Found | None) -> tuple[str, str] | None:
    """Return the code and the sentence of the first reason why the plan no longer fits the backend."""
    if found is None:
        return CHANGED, f"{entry.source} is not on {entry.host} any more"
    if found.is_managed:
        return "already_managed", f"another record owns {entry.source}"
    if found.rename == "refuse" and entry.metadata.items().isdisjoint(FORCE.items()):
        return REFUSES, found.origin_why or "the program that made the snapshot needs its name"
    if differences := entry.expect.differences(found):
        return CHANGED, "; ".join(differences)
    if not found.is_safe and found.rename != "refuse" and not entry.warnings:
        return CHANGED, f"it is not safe to manage any more: {found.reason_not_safe}"
    return None


def joined(entries: Iterator[Manage], scan: Iterator[Found]) -> Iterator[tuple[Manage, Found | None]]:
    """Yield each entry with the scanned snapshot of its host and name; both must be in the order of `place`.

    If several volumes have a snapshot of that name, as behind Cinder's RBD driver, the one of its volume counts.
    """
    groups: Iterator[tuple[tuple[str, str] | None, Iterator[Found]]] = groupby(scan, key=Found.place)
    place: tuple[str, str] | None = ("", "")
    group: list[Found] = []
    for entry in entries:
        while place is not None and place < entry.place():
            place, found = next(groups, (None, iter(())))
            group = list(found)
        yield entry, _likeliest(entry, group) if place == entry.place() else None


def _likeliest(entry: Manage, group: list[Found]) -> Found:
    return next((each for each in group if each.parent == entry.expect.parent), group[0])
