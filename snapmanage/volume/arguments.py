"""Check the arguments of a message, and make values of them; each function raises `InvalidRequest`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from snapmanage import errors
from snapmanage.core.origins import protection
from snapmanage.core.records import Requester
from snapmanage.core.values.text import storable

LONGEST_TEXT = 255
LARGEST_GB = 2**40
# Pairs of metadata, and characters of all their texts: more than a body of Cinder's API, whose 114,688 bytes have at
# least seven for each pair. A page of the API's lists has up to 10,000 records with their metadata.
MOST_PAIRS = 16_384
LARGEST_METADATA = 128 * 1024
# The time at which a record is accepted replaces it.
UNDATED = datetime.min.replace(tzinfo=UTC)


def requester(ctxt: Mapping[str, Any], project_id: str | None, user_id: str | None) -> Requester:
    """Return the requester; the arguments take precedence over the context."""
    project = text("project_id", project_id or ctxt.get("project_id"))
    if not project:
        raise errors.InvalidRequest("project_id is missing: name the project in the arguments or in the context")
    return Requester(
        project_id=project,
        user_id=text("user_id", user_id or ctxt.get("user_id")),
        request_id=text("request_id", ctxt.get("request_id")),
        global_request_id=text("global_request_id", ctxt.get("global_request_id")),
    )


def known_requester(ctxt: Mapping[str, Any]) -> Requester | None:
    """Return the requester of the context, if it names a project."""
    return requester(ctxt, None, None) if ctxt.get("project_id") else None


def text(argument: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not storable(value):
        raise errors.InvalidRequest(
            f"{argument} must be a text of up to {LONGEST_TEXT} characters of Unicode without NUL, or null, "
            f"not {value!r}"
        )
    return value


def size_gb(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < LARGEST_GB):
        raise errors.InvalidRequest(f"volume_size must be a number of GiB, or null, not {value!r}")
    return value


def generation(value: Any) -> int | None:
    if value is not None and (type(value) is not int or value < 1):
        raise errors.InvalidRequest(
            f"generation must be the generation of an event (a whole number of at least 1) or null, not {value!r}"
        )
    return value


def metadata(value: Any, ctxt: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a record, without `protection.OWN_KEYS` unless the context is an administrator's."""
    given = {} if value is None else value
    if not isinstance(given, Mapping) or not all(isinstance(part, str) for pair in given.items() for part in pair):
        raise errors.InvalidRequest("metadata must be an object of texts")
    if not all(storable(part) for pair in given.items() for part in pair):
        raise errors.InvalidRequest("metadata must be an object of texts of Unicode without NUL")
    if len(given) > MOST_PAIRS:
        raise errors.InvalidRequest(f"metadata must have at most {MOST_PAIRS} pairs, not {len(given)}")
    if (size := sum(len(key) + len(text) for key, text in given.items())) > LARGEST_METADATA:
        raise errors.InvalidRequest(f"metadata must have at most {LARGEST_METADATA} characters, not {size}")
    return dict(given) if ctxt.get("is_admin") is True else protection.without_own_keys(given)
