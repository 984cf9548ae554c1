"""Recognise the records of a plan. Each member of a project can edit metadata, so the label alone proves nothing."""

from collections.abc import Iterable

from snapmanage.client.api.records import Record
from snapmanage.client.plan.entries import ENTRY_KEY, Entry, Manage, RegisterVolume
from snapmanage.client.selection.found import name_of


class Members:
    """The entries of a plan by their keys."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        # The id that the plan chose, or None, and the name of the object.
        self._entries: dict[str, tuple[str | None, str]] = {}
        for entry in entries:
            match entry:
                case Manage():
                    self._entries[entry.key] = entry.snapshot_id, entry.source
                case RegisterVolume():
                    self._entries[entry.key] = None, name_of(entry.reference)

    def has(self, record: Record) -> bool:
        """Return whether a record is that of the entry whose key it shows, as far as the service shows it."""
        chosen_id, source = self._entries.get(str(record.metadata.get(ENTRY_KEY)), (None, None))
        if chosen_id is not None:
            return record.record_id == chosen_id
        return source is not None and record.source in (None, source)
