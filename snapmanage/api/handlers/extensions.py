"""Handlers of extensions; old clients find out from them that snapshots can be managed."""

from snapmanage.api.request import Answer, ApiRequest

SNAPSHOT_MANAGE = {
    "name": "SnapshotManage",
    "alias": "os-snapshot-manage",
    "description": "Allows existing backend storage to be 'managed' as snapshots.",
    "updated": "2014-12-31T00:00:00+00:00",
    "links": [],
}


def index(request: ApiRequest) -> Answer:
    return Answer(200, {"extensions": [SNAPSHOT_MANAGE]})


def show(request: ApiRequest) -> Answer:
    return Answer(200, {"extension": SNAPSHOT_MANAGE})
