"""Values that tests begin with: each is whole, and a test names only what it is about."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendSnapshot, BackendVolume
from snapmanage.core.lifecycle import Retry
from snapmanage.core.location import Location
from snapmanage.core.records import Requester, Snapshot, Status, Volume
from snapmanage.core.reference import Reference

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
LEASE = timedelta(seconds=60)
RETRY = Retry(3, timedelta(seconds=1), timedelta(seconds=60))

MESSAGES = Path(__file__).parent / "data" / "messages"

SERVER = "storage-1@fast"
HOST = f"{SERVER}#pool"
LOCATION = Location.parse(HOST)
PROJECT = "a" * 32
ASKED = Requester(PROJECT, "b" * 32, f"req-{uuid.UUID(int=7)}", f"req-{uuid.UUID(int=8)}")
VOLUME_ID = str(uuid.UUID(int=1))
SNAPSHOT_ID = str(uuid.UUID(int=2))


def new_id() -> str:
    return str(uuid.uuid4())


def snapshot(source: str = "daily", /, **fields: Any) -> Snapshot:
    """A snapshot as it is asked for; `source` is the backend's name for it."""
    asked = Snapshot(
        id=SNAPSHOT_ID,
        volume_id=VOLUME_ID,
        requester=ASKED,
        location=LOCATION,
        reference=Reference.named(source),
        created_at=NOW,
    )
    return replace(asked, **fields)


def volume(source: str = "disk", /, **fields: Any) -> Volume:
    """A volume as it is asked for."""
    asked = Volume(id=VOLUME_ID, requester=ASKED, location=LOCATION, reference=Reference.named(source), created_at=NOW)
    return replace(asked, **fields)


def available_volume(source: str = "disk", /, **fields: Any) -> Volume:
    """A volume that snapshots may be managed of."""
    return volume(source, **{"status": Status.AVAILABLE, "backend_name": source, "size_gb": 1} | fields)


def found(name: str = "daily", /, **fields: Any) -> BackendSnapshot:
    """What a backend tells of a snapshot."""
    return replace(BackendSnapshot(name, f"identity of {name}", 3 * GIB, "disk", created_at=NOW), **fields)


def found_volume(name: str = "disk", /, **fields: Any) -> BackendVolume:
    return replace(BackendVolume(name, f"identity of {name}", 3 * GIB), **fields)


def sample(name: str) -> dict[str, Any]:
    """A message as it was seen on the wire between the reference's services: routing, properties, body."""
    seen: dict[str, Any] = json.loads((MESSAGES / f"{name}.json").read_text())
    return seen


def sample_body(name: str) -> bytes:
    return json.dumps(sample(name)["body"]).encode()


def sample_content(name: str) -> dict[str, Any]:
    """What is inside the envelope."""
    content: dict[str, Any] = json.loads(sample(name)["body"]["oslo.message"])
    return content


def deliberate_errors() -> list[type[errors.SnapmanageError]]:
    """Every class of the one tree."""
    named = vars(errors).values()
    return [each for each in named if isinstance(each, type) and issubclass(each, errors.SnapmanageError)]


def told(value: Any) -> str:
    """A parameter as a test's name tells it, the same in each process that runs tests."""
    return str(sorted(value, key=str)) if isinstance(value, set) else str(value)
