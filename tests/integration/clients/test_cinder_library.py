"""python-cinderclient's library, unchanged, against a running service."""

import json
from typing import Any

import pytest
from cinderclient import client as cinder
from cinderclient.contrib.noauth import CinderNoAuthPlugin
from cinderclient.exceptions import ClientException
from cinderclient.exceptions import NotFound as CinderNotFound

from snapmanage.testing.services.deployment import PROJECT
from snapmanage.testing.waiting import until
from tests.integration.clients.service import HOST, SNAPSHOTS, Service, await_available


@pytest.fixture
def cinder_client(service: Service) -> Any:
    from keystoneauth1.session import Session

    plugin = CinderNoAuthPlugin("ann", PROJECT, endpoint=service.url)
    return cinder.Client("3.17", session=Session(auth=plugin))


def test_cinder_s_library_manages_lists_and_unmanages(service: Service, cinder_client: Any, disk: str) -> None:
    volume = cinder_client.volumes.manage(HOST, {"source-name": disk}, name=disk)
    await_available(lambda: str(cinder_client.volumes.get(volume.id).status), disk)

    made = cinder_client.volume_snapshots.manage(volume.id, {"source-name": f"{disk}@daily"}, metadata={"k": "v"})
    await_available(lambda: str(cinder_client.volume_snapshots.get(made.id).status), made.id)
    listed = cinder_client.volume_snapshots.list_manageable(HOST, detailed=True)

    assert [each.cinder_id for each in listed if each.reference["source-name"] == f"{disk}@snapshot-{made.id}"] == [
        made.id
    ]
    assert [each.id for each in cinder_client.volume_snapshots.list(search_opts={"volume_id": volume.id})] == [made.id]
    assert cinder_client.volume_snapshots.get(made.id).metadata == {"k": "v"}
    with pytest.raises(ClientException, match="managed already"):
        cinder_client.volume_snapshots.manage(volume.id, {"source-name": f"{disk}@daily"})

    cinder_client.volume_snapshots.unmanage(made.id)

    with pytest.raises(CinderNotFound):
        until(lambda: cinder_client.volume_snapshots.get(made.id) is None, "the snapshot to be unmanaged")
    assert service.names(disk) == set(SNAPSHOTS)

    cinder_client.volumes.unmanage(volume.id)

    with pytest.raises(CinderNotFound):
        cinder_client.volumes.get(volume.id)


def test_cinder_s_library_lists_all_entries_after_a_marker(cinder_client: Any, disk: str) -> None:
    def listed(**parameters: Any) -> list[str]:
        entries = cinder_client.volume_snapshots.list_manageable(
            HOST, detailed=False, sort="reference:asc", **parameters
        )
        return [str(each.reference["source-name"]) for each in entries]

    whole = listed()
    after_daily = whole[whole.index(f"{disk}@daily") + 1 :]

    # The library treats the limit as the size of a page, and follows all links.
    assert listed(marker=json.dumps({"source-name": f"{disk}@daily"}), limit=1) == after_daily
    assert listed(offset=len(whole) - len(after_daily)) == after_daily


def test_cinder_s_library_lists_manageable_volumes(cinder_client: Any, disk: str) -> None:
    volume = cinder_client.volumes.manage(HOST, {"source-name": disk})
    await_available(lambda: str(cinder_client.volumes.get(volume.id).status), disk)

    names = [each.reference["source-name"] for each in cinder_client.volumes.list_manageable(HOST, detailed=False)]
    listed = cinder_client.volumes.list_manageable(HOST, limit=1, sort="reference:asc")

    assert len(names) == len(set(names)) == len(listed)
    assert [each.cinder_id for each in listed if each.reference["source-name"] == disk] == [volume.id]
