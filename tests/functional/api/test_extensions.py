"""Extensions over HTTP; old clients find out from them that snapshots can be managed."""

import pytest

from tests.functional.client import PROJECT, fault
from tests.functional.world import World

DESCRIPTOR = {
    "name": "SnapshotManage",
    "alias": "os-snapshot-manage",
    "description": "Allows existing backend storage to be 'managed' as snapshots.",
    "updated": "2014-12-31T00:00:00+00:00",
    "links": [],
}
PREFIXES = [f"/v3/{PROJECT}", "/v3"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("version", [None, "latest"])
def test_managing_snapshots_is_listed_and_shown_as_an_extension(
    shared: World, prefix: str, version: str | None
) -> None:
    every = shared.client.get(f"{prefix}/extensions", version=version)
    one = shared.client.get(f"{prefix}/extensions/os-snapshot-manage", version=version)

    assert (every.status_code, every.json()) == (200, {"extensions": [DESCRIPTOR]})
    assert (one.status_code, one.json()) == (200, {"extension": DESCRIPTOR})


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("alias", ["os-volume-manage", "OS-SNAPSHOT-MANAGE", "os-snapshot-manage/more"])
def test_unknown_extension_is_not_found(shared: World, prefix: str, alias: str) -> None:
    answer = shared.client.get(f"{prefix}/extensions/{alias}")

    assert fault(answer)[:2] == (404, "itemNotFound")
