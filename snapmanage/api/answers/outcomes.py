"""The JSON Schemas of the answer to a batch: each entry has the status and the body of an answer to it alone."""

from typing import Any

from snapmanage.api.answers.faults import CODE_FIELD, fault_schema
from snapmanage.api.answers.shapes import TEXT, list_of, object_of, ref

# The statuses of refused entries.
REFUSED = (400, 403, 404, 409, 413, 422)

SCHEMAS: dict[str, dict[str, Any]] = {
    "outcomes": object_of({"snapshots": list_of({"anyOf": [ref("accepted_entry"), ref("refused_entry")]})}),
    "accepted_entry": object_of({"status": {"const": 202}, "snapshot": ref("snapshot")}),
    "refused_entry": {
        "oneOf": [
            object_of({"status": {"const": status}, CODE_FIELD: TEXT, **fault_schema(status)["properties"]})
            for status in REFUSED
        ]
    },
}
