"""openstacksdk, unchanged, against a running service."""

import warnings
from collections.abc import Iterator
from typing import Any

import openstack
import pytest
from openstack.exceptions import ConflictException, NotFoundException

from snapmanage.testing.services.deployment import PROJECT
from snapmanage.testing.waiting import until
from tests.integration.clients.service import HOST, SNAPSHOTS, Service, await_available


@pytest.fixture
def sdk(service: Service) -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library warns of its own deprecated functions
        connection = openstack.connect(
            auth_type="none",
            auth={"endpoint": service.endpoint},
            block_storage_default_microversion="3.8",
            load_yaml_config=False,
            load_envvars=False,
        )
        yield connection.block_storage
        connection.close()


def test_openstacksdk_manages_lists_and_unmanages(service: Service, sdk: Any, disk: str) -> None:
    volume = sdk.manage_volume(host=HOST, ref={"source-name": disk}, name=disk)
    await_available(lambda: str(sdk.get_volume(volume.id).status), disk)

    made = sdk.manage_snapshot(volume_id=volume.id, ref={"source-name": f"{disk}@daily"}, name=f"{disk}-daily")
    await_available(lambda: str(sdk.get_snapshot(made.id).status), made.id)

    assert sdk.find_snapshot(f"{disk}-daily", ignore_missing=False).id == made.id
    assert [each.id for each in sdk.snapshots(volume_id=volume.id)] == [made.id]
    with pytest.raises(ConflictException):
        sdk.manage_snapshot(volume_id=volume.id, ref={"source-name": f"{disk}@daily"})

    sdk.unmanage_snapshot(made.id)

    with pytest.raises(NotFoundException):
        until(lambda: sdk.get_snapshot(made.id) is None, "the snapshot to be unmanaged")
    assert service.names(disk) == set(SNAPSHOTS)

    sdk.unmanage_volume(volume.id)

    with pytest.raises(NotFoundException):
        sdk.get_volume(volume.id)


@pytest.mark.parametrize("limit", [None, 1, 2, 1000])
def test_openstacksdk_reads_all_pages_once(sdk: Any, disk: str, limit: int | None) -> None:
    parameters = {} if limit is None else {"limit": limit}

    listed = [each.reference["source-name"] for each in sdk.manageable_snapshots(details=True, host=HOST, **parameters)]

    assert len(listed) == len(set(listed))
    assert {f"{disk}@{word}" for word in SNAPSHOTS} <= set(listed)


def test_openstacksdk_reads_and_sets_quotas_and_services(service: Service, sdk: Any) -> None:
    changed = sdk.update_quota_set(PROJECT, snapshots=9)
    shown = sdk.get_quota_set(PROJECT, usage=True)
    sdk.revert_quota_set(PROJECT)
    [server] = sdk.services(binary="cinder-volume")

    assert (changed.snapshots, shown.snapshots, shown.reservation["snapshots"]) == (9, 9, 0)
    assert sdk.get_quota_set(PROJECT).snapshots == sdk.get_quota_set_defaults(PROJECT).snapshots == -1
    assert sdk.get_limits().absolute.max_total_snapshots == -1
    assert sdk.disable_service(server, reason="array swap").host == HOST
    assert sdk.find_service("cinder-volume", host=HOST).disabled_reason == "array swap"
    sdk.enable_service(server)
    assert [each.name for each in sdk.backend_pools()] == [f"{HOST}#files"]
    assert [each.name for each in sdk.types()] == ["__DEFAULT__"]


def test_openstacksdk_lists_manageable_volumes(sdk: Any, disk: str) -> None:
    volume = sdk.manage_volume(host=HOST, ref={"source-name": disk})
    await_available(lambda: str(sdk.get_volume(volume.id).status), disk)

    listed = {each.reference["source-name"]: each for each in sdk.manageable_volumes(details=True, host=HOST, limit=1)}

    assert (listed[disk].safe_to_manage, listed[disk].cinder_id) == (False, volume.id)
