"""Entries of the audit log as events of CADF 1.0 (DMTF DSP0262), in their JSON form."""

from typing import Any

from snapmanage.core.audit.chain import Entry, exported
from snapmanage.core.events import Step

EVENT = "http://schemas.dmtf.org/cloud/audit/1.0/event"
ENTRY = "urn:snapmanage:audit:entry:1"
# The first part of each action is in CADF's taxonomy.
_ACTIONS = {"snapshot.manage": "enable/manage", "snapshot.unmanage": "disable/unmanage"}
_OUTCOMES = {Step.START.value: "pending", Step.END.value: "success", Step.ERROR.value: "failure"}
_UNKNOWN = "unknown"


def event(entry: Entry, log_id: str) -> dict[str, Any]:
    """Return the CADF event of an entry; its attachment is the whole entry, from which the chain can be verified.

    Fields that are no texts are left out: any client that may publish chooses the content of an event.
    """
    payload = {name: value for name, value in entry.readable_payload.items() if value}
    texts = {name: value for name, value in payload.items() if isinstance(value, str)}
    operation, _, step = entry.event_type.rpartition(".")
    made: dict[str, Any] = {
        "typeURI": EVENT,
        "id": entry.event_id,
        "eventType": "activity",
        "eventTime": texts.get("occurred_at") or exported(vars(entry))["heard_at"],
        "action": _ACTIONS.get(operation, _UNKNOWN),
        "outcome": _OUTCOMES.get(step, _UNKNOWN),
        "initiator": {"id": texts.get("user_id", _UNKNOWN), "typeURI": "service/security/account/user"},
        "target": {"id": entry.snapshot_id, "typeURI": "storage/volume/snapshot"},
        "observer": {"id": log_id or _UNKNOWN, "typeURI": "service/storage/block", "name": "snapmanage"},
        "attachments": [{"typeURI": ENTRY, "name": "entry", "content": exported(vars(entry))}],
    }
    of_requester = ("project_id", "request_id", "global_request_id")
    made["initiator"] |= {name: texts[name] for name in of_requester if name in texts}
    made["target"] |= {name: texts[name] for name in ("name",) if name in texts}
    if isinstance(reason := payload.get("reason"), dict):
        made["reason"] = {"reasonType": "snapmanage", "reasonCode": str(reason.get("code"))}
    return made
