"""The records of a plan, found by its label, by each user and on each machine."""

import json
from collections.abc import Iterator, Mapping

from snapmanage.client.api.answers import Refused
from snapmanage.client.api.http import Api
from snapmanage.client.api.records import Record, listed
from snapmanage.client.plan.entries import ENTRY_KEY, LABEL_KEY, NAME_KEY
from snapmanage.client.plan.journal import Outcome
from snapmanage.client.work.members import Members
from snapmanage.client.work.verdicts import of_record

# The status of a record that is gone.
GONE = "deleted"


class LabelledRecords:
    """The records of one plan, or all records of the project without a label.

    With `members`, a record that has the label but belongs to no entry of the plan is left out, and noted in
    `foreign` by its id. Without them, the label decides alone.
    """

    def __init__(self, api: Api, label: str | None, members: Members | None = None) -> None:
        self._api = api
        self._filters = {"metadata": json.dumps({LABEL_KEY: label})} if label else {}
        self._members = members
        self.foreign: set[str] = set()

    def snapshots(self, **filters: str) -> Iterator[Record]:
        return self._listed("snapshots", filters)

    def volumes(self, **filters: str) -> Iterator[Record]:
        return self._listed("volumes", filters)

    def outcomes(self, kind: str) -> dict[str, Outcome]:
        """Return the outcomes that the records of a kind show, by the keys of their entries."""
        found = self._listed(kind, {})
        return {key: of_record(key, record) for record in found if (key := record.metadata.get(ENTRY_KEY))}

    def volume_names(self) -> dict[str, str]:
        """Return the names of the volumes before they were registered, by the ids of their records."""
        return {each.record_id: name for each in self.volumes() if (name := each.metadata.get(NAME_KEY))}

    def count(self, status: str, kind: str = "snapshots") -> int:
        """Return the number of records in a status."""
        query = self._filters | {"status": status, "limit": "1", "with_count": "true"}
        return int(self._api.get(f"/{kind}", **query).get("count", 0))

    def status(self, record_id: str, kind: str = "snapshots") -> str | None:
        """Return the status of a record: `GONE` if there is none, None if the service does not show it."""
        answer = self._api.send("GET", f"/{kind}/{record_id}")
        shown = answer.body.get(kind.removesuffix("s"))
        if answer.status == 404:
            return GONE
        return str(shown.get("status")) if isinstance(shown, Mapping) else None

    def reason(self, record_id: str) -> tuple[str | None, str | None]:
        """Return the code and the text of a failed snapshot, as far as the service shows them."""
        try:
            operation = self._api.get(f"/snapshots/{record_id}/operation").get("operation", {})
            return operation.get("reason_code"), operation.get("reason")
        except Refused:
            return self._message(record_id)

    def was_unmanaged(self, record_id: str) -> bool:
        """Return whether the last operation on a snapshot was to unmanage it, as far as the service shows it."""
        answer = self._api.send("GET", f"/snapshots/{record_id}/operation")
        events = answer.body.get("operation", {}).get("events", []) if answer.is_success else []
        return bool(events) and str(events[-1].get("event_type")).startswith("snapshot.unmanage.")

    def _listed(self, kind: str, filters: Mapping[str, str]) -> Iterator[Record]:
        for record in listed(self._api, kind, self._filters | dict(filters)):
            if self._members is None or self._members.has(record):
                yield record
            else:
                self.foreign.add(record.record_id)

    def _message(self, record_id: str) -> tuple[str | None, str | None]:
        try:
            found = self._api.get("/messages", resource_uuid=record_id).get("messages", [])
        except Refused:
            return None, None
        return (found[0].get("event_id"), found[0].get("user_message")) if found else (None, None)
