"""Handlers of volumes: register one that exists on a backend, show."""

import uuid
from datetime import UTC, datetime

from snapmanage import errors
from snapmanage.api import schemas, views
from snapmanage.api.call import Answer, Call, find_server
from snapmanage.core.records import Volume
from snapmanage.core.reference import Reference
from snapmanage.manage import requests
from snapmanage.store import records


def create(call: Call) -> Answer:
    """`POST /os-volume-manage`: its server looks the volume up, and never renames it."""
    schemas.check(call.body, schemas.MANAGE_VOLUME)
    wanted = call.body["volume"]
    asked = Volume(
        id=str(uuid.uuid4()),
        host=str(find_server(call, wanted["host"])),
        reference=Reference.of(wanted["ref"]),
        name=wanted.get("name"),
        description=wanted.get("description"),
        metadata=wanted.get("metadata") or {},
        requester=call.requester,
        created_at=datetime.now(UTC),
    )
    return Answer(202, {"volume": views.volume_detail(call, requests.register_volume(call.site, asked))})


def show(call: Call) -> Answer:
    volume_id = call.path["volume_id"]
    with call.site.db.read() as conn:
        volume = records.get(conn, Volume, volume_id)
    if volume is None or volume.requester.project_id != call.requester.project_id:
        raise errors.VolumeNotFound(volume_id)
    return Answer(200, {"volume": views.volume_detail(call, volume)})
