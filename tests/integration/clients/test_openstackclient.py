"""python-openstackclient, unchanged, against a running service."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from snapmanage.testing.waiting import until
from tests.integration.clients.service import HOST, SNAPSHOTS, Service, await_available, run_command, status

BINARY = "cinder-volume"


@pytest.fixture
def osc(service: Service) -> Callable[..., Any]:
    environment = {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": service.endpoint, "OS_VOLUME_API_VERSION": "3.8"}

    def run(*arguments: str, shown: bool = True) -> Any:
        output = run_command("openstack", *arguments, *(["-f", "json"] if shown else []), environment=environment)
        return json.loads(output) if shown else output

    return run


def test_openstackclient_manages_lists_and_unmanages(service: Service, osc: Callable[..., Any], disk: str) -> None:
    volume = ["volume", "create", disk, "--remote-source", f"source-name={disk}", "--host", HOST]
    volume_id = osc(*volume)["id"]
    await_available(lambda: status(service, f"volumes/{volume_id}"), disk)

    snapshot = [f"{disk}-daily", "--volume", disk, "--remote-source", f"source-name={disk}@daily"]
    made = osc("volume", "snapshot", "create", *snapshot)["id"]
    await_available(lambda: status(service, f"snapshots/{made}"), made)
    listed = osc("block", "storage", "snapshot", "manageable", "list", HOST, "--long", "--sort", "reference:asc")

    assert [each["cinder_id"] for each in listed if each["reference"]["source-name"].startswith(f"{disk}@s")] == [made]
    assert made in [each["ID"] for each in osc("volume", "snapshot", "list", "--volume", disk)]

    osc("volume", "snapshot", "delete", "--remote", f"{disk}-daily", shown=False)

    until(lambda: status(service, f"snapshots/{made}") == "gone", "the snapshot to be unmanaged")
    assert service.names(disk) == set(SNAPSHOTS)

    osc("volume", "delete", "--remote", disk, shown=False)

    assert status(service, f"volumes/{volume_id}") == "gone"
    assert (service.images / disk).exists()


def test_openstackclient_unmanages_a_mistyped_volume_so_that_its_name_is_unambiguous(
    service: Service, osc: Callable[..., Any], disk: str
) -> None:
    mistyped = osc("volume", "create", disk, "--remote-source", f"source-name={disk}x", "--host", HOST)["id"]
    until(lambda: status(service, f"volumes/{mistyped}") == "error", "the volume to fail")
    right = osc("volume", "create", disk, "--remote-source", f"source-name={disk}", "--host", HOST)["id"]
    await_available(lambda: status(service, f"volumes/{right}"), disk)

    osc("volume", "delete", "--remote", mistyped, shown=False)

    assert osc("volume", "show", disk)["id"] == right


def test_openstackclient_lists_and_sets_services_pools_and_limits(service: Service, osc: Callable[..., Any]) -> None:
    osc("volume", "service", "set", HOST, BINARY, "--disable", "--disable-reason", "array swap", shown=False)
    [disabled] = osc("volume", "service", "list", "--host", HOST, "--service", BINARY, "--long")
    osc("volume", "service", "set", HOST, BINARY, "--enable", shown=False)
    [enabled] = osc("volume", "service", "list")

    assert (disabled["Host"], disabled["Status"], disabled["Disabled Reason"]) == (HOST, "disabled", "array swap")
    assert (enabled["Status"], enabled["State"]) == ("enabled", "up")
    assert [each["Name"] for each in osc("volume", "backend", "pool", "list", "--long")] == [f"{HOST}#files"]
    assert {"Name": "max_total_snapshots", "Value": -1} in osc("limits", "show", "--absolute")
    assert osc("limits", "show", "--rate") == []


def test_openstackclient_lists_zones_types_and_the_summary(service: Service, osc: Callable[..., Any]) -> None:
    assert osc("availability", "zone", "list", "--volume") == [{"Zone Name": "nova", "Zone Status": "available"}]
    assert [each["Name"] for each in osc("volume", "type", "list")] == ["__DEFAULT__"]
    assert osc("volume", "type", "show", "__DEFAULT__")["is_public"] is True
    summary = osc("--os-volume-api-version", "3.36", "volume", "summary")
    assert summary.keys() == {"Total Count", "Total Size", "Metadata"}


def test_openstackclient_lists_manageable_volumes(service: Service, osc: Callable[..., Any], disk: str) -> None:
    listing = ("block", "storage", "volume", "manageable", "list", HOST)

    def entry() -> dict[str, Any]:
        [found] = [each for each in osc(*listing, "--long") if each["reference"]["source-name"] == disk]
        return dict(found)

    before = entry()
    made = osc("volume", "create", disk, "--remote-source", f"source-name={disk}", "--host", HOST)["id"]
    await_available(lambda: status(service, f"volumes/{made}"), disk)
    after = entry()

    assert (before["safe_to_manage"], before["cinder_id"]) == (True, None)
    assert (after["safe_to_manage"], after["reason_not_safe"], after["cinder_id"]) == (False, "already managed", made)
    assert disk in [each["reference"]["source-name"] for each in osc(*listing, "--sort", "size:asc")]
