"""Handlers of extensions, which is how clients once learnt that snapshots can be managed."""

from snapmanage.api.request import Answer, ApiRequest

SNAPSHOT_MANAGE = {
    "name": "SnapshotManage",
    "alias": "os-snapshot-manage",
    "description": "Allows existing backend storage to be 'managed' as snapshots.",
    "updated": "2014-12-31T00:00:00+00:00",
    "links": [],
}


def index(call: ApiRequest) -> Answer:
    return Answer(200, {"extensions": [SNAPSHOT_MANAGE]})


def show(call: ApiRequest) -> Answer:
    return Answer(200, {"extension": SNAPSHOT_MANAGE})
