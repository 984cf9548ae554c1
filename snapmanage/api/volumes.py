"""Handlers of volumes: register one that exists on a backend, show."""

from snapmanage import errors
from snapmanage.api import views
from snapmanage.api.call import Answer, Call, asked_fields, find_server
from snapmanage.core.records import Volume
from snapmanage.manage import requests
from snapmanage.store import records


def create(call: Call) -> Answer:
    """`POST /os-volume-manage`: its server looks the volume up, and never renames it."""
    wanted = call.body["volume"]
    asked = Volume(host=str(find_server(call, wanted["host"])), **asked_fields(call, wanted))
    return Answer(202, {"volume": views.volume_detail(call, requests.register_volume(call.site, asked))})


def show(call: Call) -> Answer:
    volume_id = call.path["volume_id"]
    with call.site.db.read() as conn:
        volume = records.get(conn, Volume, volume_id)
    if volume is None or not call.sees(volume):
        raise errors.VolumeNotFound(volume_id)
    return Answer(200, {"volume": views.volume_detail(call, volume)})
