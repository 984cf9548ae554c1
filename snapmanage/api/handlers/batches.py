"""Handler of a batch: many snapshots to manage in one request, each with an outcome of its own."""

import logging
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from snapmanage import crash, errors
from snapmanage.api import bodies, refusals, schemas, views
from snapmanage.api.access import log as access
from snapmanage.api.answers import faults
from snapmanage.api.handlers.snapshots import KEYED_OPERATION
from snapmanage.api.request import Answer, ApiRequest, common_fields
from snapmanage.core import idempotency
from snapmanage.core.idempotency import IdempotencyKey
from snapmanage.core.records import Snapshot
from snapmanage.core.values.ids import parse_uuid
from snapmanage.core.values.location import UNPLACED
from snapmanage.core.values.logfields import fields
from snapmanage.crash import Point
from snapmanage.manage import snapshot_requests
from snapmanage.manage.snapshot_requests import Outcome, SnapshotRequest

LOG = logging.getLogger(__name__)

# Characters of the header Idempotency-Key of a batch: entry i has the key KEY/i.
LONGEST_KEY = 250
# The fields of an entry that are no part of a request for one snapshot.
_OWN_FIELDS = {"id", "idempotency_key"}


def create(request: ApiRequest) -> Answer:
    """Handle `POST /os-snapshot-manage/batch`: accept each entry that a request for it alone would be accepted for."""
    shared_key = _shared_key(request)
    entries = [_read(request, number, entry, shared_key) for number, entry in enumerate(request.body["snapshots"])]
    permitted = [each for each in entries if isinstance(each, SnapshotRequest)]
    decided = iter(snapshot_requests.request_snapshots(request.service.app, permitted, request.everywhere))
    outcomes = [next(decided) if isinstance(each, SnapshotRequest) else each for each in entries]
    crash.at(Point.UNANSWERED)
    counts = Counter(_log(outcome) for outcome in outcomes)
    access.note(request.http.env, **{name: str(counts[name]) for name in ("accepted", "repeated", "refused")})
    return Answer(207, {"snapshots": [_show(request, outcome) for outcome in outcomes]})


def _shared_key(request: ApiRequest) -> str | None:
    text = request.http.get_header(idempotency.HEADER)
    if text is not None and not re.fullmatch(f"[ -~]{{1,{LONGEST_KEY}}}", text):
        raise errors.InvalidRequest(
            f"{idempotency.HEADER} of a batch must have 1 to {LONGEST_KEY} printable ASCII characters, since its "
            "entries get the keys KEY/0, KEY/1 and so on; make up a UUID for each new batch"
        )
    return text


def _read(request: ApiRequest, number: int, entry: Any, shared_key: str | None) -> SnapshotRequest | errors.Invalid:
    """Return the request of an entry, or the refusal of one that is malformed, or that only an administrator may send.

    The text of a refusal names the entry and its field.
    """
    place = ("snapshots", str(number))
    try:
        bodies.check(entry, schemas.ENTRY, place)
    except errors.InvalidRequest as error:
        return error.with_traceback(None)
    try:
        chosen = parse_uuid("id", entry["id"]) if "id" in entry else None
        volume_id = parse_uuid("volume_id", entry["volume_id"])
        new = Snapshot(volume_id=volume_id, location=UNPLACED, **common_fields(request, entry, chosen))
        key = _key(request, number, entry, shared_key, chosen)
    except (errors.InvalidRequest, errors.InvalidReference) as error:
        return errors.InvalidRequest("/".join([*place, str(error)]))  # the text begins with the field
    except errors.NotPermitted as error:
        return error.with_traceback(None)
    return SnapshotRequest(new, key, id_chosen=chosen is not None)


def _key(
    request: ApiRequest, number: int, entry: Mapping[str, Any], shared_key: str | None, chosen_id: str | None
) -> IdempotencyKey | None:
    """Return the key of an entry; a request for the entry alone has the same digest."""
    text = entry.get("idempotency_key") or (shared_key and f"{shared_key}/{number}")
    if text is None:
        return None
    alone = {"snapshot": {name: value for name, value in entry.items() if name not in _OWN_FIELDS}}
    return IdempotencyKey.of(request.caller.requester.project_id, text, KEYED_OPERATION, alone, chosen_id)


def _log(outcome: Outcome) -> str:
    """Log the request of a new snapshot; return the kind of the outcome."""
    if isinstance(outcome, errors.SnapmanageError):
        return "refused"
    if not outcome.is_new:
        return "repeated"
    LOG.info("Snapshot requested: %s", fields(outcome.snapshot))
    return "accepted"


def _show(request: ApiRequest, outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, errors.SnapmanageError):
        status = refusals.status_of(outcome)
        body = faults.fault(status, refusals.text_of(request, outcome))
        return {"status": status, faults.CODE_FIELD: outcome.code, **body}
    return {"status": 202, "snapshot": views.snapshot_summary(request, outcome.snapshot)}
