"""Complete example values; a test names only the fields that it depends on."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendSnapshot, BackendVolume
from snapmanage.core.records import Requester, Snapshot, Status, Volume
from snapmanage.core.reference import Reference
from snapmanage.core.values.location import Location
from snapmanage.core.values.retry import Retry

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
LEASE = timedelta(seconds=60)
RETRY = Retry(3, timedelta(seconds=1), timedelta(seconds=60))

MESSAGES = Path(__file__).parent / "data" / "messages"

SERVER = "storage-1@fast"
HOST = f"{SERVER}#pool"
LOCATION = Location.parse(HOST)
PROJECT = "a" * 32
REQUESTER = Requester(PROJECT, "b" * 32, f"req-{uuid.UUID(int=7)}", f"req-{uuid.UUID(int=8)}")
VOLUME_ID = str(uuid.UUID(int=1))
SNAPSHOT_ID = str(uuid.UUID(int=2))
LOG_ID = str(uuid.UUID(int=3))


def new_id() -> str:
    return str(uuid.uuid4())


def snapshot(source: str = "daily", /, **fields: Any) -> Snapshot:
    """Return a newly requested snapshot; `source` is the backend's name of it."""
    requested = Snapshot(
        id=SNAPSHOT_ID,
        volume_id=VOLUME_ID,
        requester=REQUESTER,
        location=LOCATION,
        reference=Reference.named(source),
        created_at=NOW,
    )
    return replace(requested, **fields)


def volume(source: str = "disk", /, **fields: Any) -> Volume:
    """Return a newly requested volume."""
    requested = Volume(
        id=VOLUME_ID, requester=REQUESTER, location=LOCATION, reference=Reference.named(source), created_at=NOW
    )
    return replace(requested, **fields)


def available_volume(source: str = "disk", /, **fields: Any) -> Volume:
    """Return an available volume, whose snapshots can be managed."""
    return volume(source, **{"status": Status.AVAILABLE, "backend_name": source, "size_gb": 1} | fields)


def found(name: str = "daily", /, **fields: Any) -> BackendSnapshot:
    """Return a snapshot as a backend reports it."""
    return replace(BackendSnapshot(name, f"identity of {name}", 3 * GIB, "disk", created_at=NOW), **fields)


def found_volume(name: str = "disk", /, **fields: Any) -> BackendVolume:
    return replace(BackendVolume(name, f"identity of {name}", 3 * GIB), **fields)


def sample(name: str) -> dict[str, Any]:
    """Return a message as recorded between Cinder's services: routing, properties, body."""
    recorded: dict[str, Any] = json.loads((MESSAGES / f"{name}.json").read_text())
    return recorded


def sample_body(name: str) -> bytes:
    return json.dumps(sample(name)["body"]).encode()


def sample_content(name: str) -> dict[str, Any]:
    """Return the content of the envelope of a sample."""
    content: dict[str, Any] = json.loads(sample(name)["body"]["oslo.message"])
    return content


def deliberate_errors() -> list[type[errors.SnapmanageError]]:
    """Return all subclasses of `SnapmanageError`."""
    named = vars(errors).values()
    return [each for each in named if isinstance(each, type) and issubclass(each, errors.SnapmanageError)]


def parameter_id(value: Any) -> str:
    """Return the id of a test's parameter, which must be the same in each test process."""
    return str(sorted(value, key=str)) if isinstance(value, set) else str(value)
