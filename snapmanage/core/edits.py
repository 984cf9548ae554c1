"""Edits: changes of a record's name, description and metadata, which no worker carries out.

An edit leaves the fence and the generation of its record alone, so that a worker can settle the record meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeVar

from snapmanage import errors
from snapmanage.core.change import Change
from snapmanage.core.origins import protection
from snapmanage.core.records import Record, Snapshot, changed
from snapmanage.core.values.metadata import MOST_PAIRS, with_added

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Edit:
    """New values of a record.

    `texts` may have `name` and `description`. `metadata` replaces all pairs, then `added` adds or changes pairs, then
    the pair with the key `removed` is removed. Pairs of snapmanage's own need an edit `by_admin`.
    """

    texts: Mapping[str, str | None] = field(default_factory=dict)
    metadata: Mapping[str, str] | None = None
    added: Mapping[str, str] = field(default_factory=dict)
    removed: str | None = None
    by_admin: bool = False


def apply(record: R, edit: Edit, now: datetime) -> Change[R]:
    """Return the change of a record by an edit.

    As in the Block Storage API, an edit of metadata alone leaves `updated_at` as it is. Raise `InvalidRequest` for too
    many pairs, `NotPermitted` for pairs that are for administrators, and `NotFound` if the pair to remove is missing.
    """
    metadata = dict(record.metadata if edit.metadata is None else edit.metadata) | dict(edit.added)
    if edit.removed is not None:
        pair(record, edit.removed)
        del metadata[edit.removed]
    protection.require_right_to_set(record.metadata, metadata, edit.by_admin)
    if len(metadata) > max(MOST_PAIRS, len(record.metadata)):
        raise errors.InvalidRequest(
            f"metadata would have {len(metadata)} pairs; the limit is {MOST_PAIRS}, so remove some first"
        )
    times = {"updated_at": now, "step_at": record.step_at or record.updated_at} if edit.texts else {}
    return Change(record, changed(record, **edit.texts, metadata=metadata, **times))


def pair(record: Record, key: str) -> dict[str, str]:
    """Return the pair of a record's metadata; raise `NotFound` if there is none with this key."""
    if key not in record.metadata:
        kind = "Snapshot" if isinstance(record, Snapshot) else "Volume"
        raise errors.NotFound(f"{kind} {record.id} has no metadata with key {key}.")
    return {key: record.metadata[key]}


def rebase(change: Change[R], name: str | None, metadata: Mapping[str, str]) -> Change[R]:
    """Return a worker's change on top of the edits that its record has got since the worker read it.

    The pairs that the change adds are added to the record's current metadata. The event then announces the record's
    current name and metadata.
    """
    before = change.before
    if (name, metadata) == (before.name, before.metadata):
        return change
    added = {key: value for key, value in change.after.metadata.items() if key not in before.metadata}
    merged = with_added(metadata, added)
    shown = {"name": name, "display_name": name, "metadata": merged}
    return replace(
        change,
        before=changed(before, name=name, metadata=metadata),
        after=changed(change.after, name=name, metadata=merged),
        event=change.event and replace(change.event, payload=change.event.payload | shown),
    )
