"""python-cinderclient's shell, unchanged, against a running service."""

import re
from collections.abc import Callable
from functools import partial

import pytest

from snapmanage.testing.services.deployment import PROJECT
from snapmanage.testing.waiting import until
from tests.integration.clients.service import HOST, SNAPSHOTS, Service, await_available, run_command, status


@pytest.fixture
def cinder_shell(service: Service) -> Callable[..., str]:
    environment = {
        "OS_AUTH_TYPE": "noauth",
        "OS_USER_ID": "ann",
        "OS_PROJECT_ID": PROJECT,
        "CINDER_ENDPOINT": service.url,
        "OS_VOLUME_API_VERSION": "3.8",
    }
    return partial(run_command, "cinder", environment=environment)


def field(table: str, name: str) -> str:
    """Return the value of a property in a table that the shell printed."""
    rows = ([cell.strip() for cell in line.strip("| ").split("|")] for line in table.splitlines() if "|" in line)
    return dict(row for row in rows if len(row) == 2)[name]


def test_cinder_s_shell_manages_lists_and_unmanages(
    service: Service, cinder_shell: Callable[..., str], disk: str
) -> None:
    volume_id = field(cinder_shell("manage", HOST, disk, "--name", disk), "id")
    await_available(lambda: status(service, f"volumes/{volume_id}"), disk)

    made = field(cinder_shell("snapshot-manage", volume_id, f"{disk}@daily", "--name", f"{disk}-daily"), "id")
    await_available(lambda: status(service, f"snapshots/{made}"), made)

    assert field(cinder_shell("snapshot-show", f"{disk}-daily"), "id") == made
    assert made in cinder_shell("snapshot-list", "--volume-id", volume_id)
    assert f"{disk}@weekly" in cinder_shell("snapshot-manageable-list", HOST, "--detailed", "False")
    assert made in cinder_shell("snapshot-manageable-list", HOST, "--detailed", "True")

    cinder_shell("snapshot-unmanage", f"{disk}-daily")

    until(lambda: status(service, f"snapshots/{made}") == "gone", "the snapshot to be unmanaged")
    assert service.names(disk) == set(SNAPSHOTS)

    cinder_shell("unmanage", disk)

    assert status(service, f"volumes/{volume_id}") == "gone"


def test_cinder_s_shell_shows_why_a_snapshot_is_in_error(
    service: Service, cinder_shell: Callable[..., str], disk: str
) -> None:
    volume_id = field(cinder_shell("manage", HOST, disk), "id")
    await_available(lambda: status(service, f"volumes/{volume_id}"), disk)
    made = field(cinder_shell("snapshot-manage", volume_id, f"{disk}@nowhere"), "id")
    until(lambda: status(service, f"snapshots/{made}") == "error", "the snapshot to fail")

    messages = cinder_shell("message-list", "--resource_uuid", made)

    assert "SNAPSHOT_MANAGE_SOURCE_NOT_FOUND" in messages


def test_cinder_s_shell_edits(service: Service, cinder_shell: Callable[..., str], disk: str) -> None:
    volume_id = field(cinder_shell("manage", HOST, disk, "--name", disk), "id")
    await_available(lambda: status(service, f"volumes/{volume_id}"), disk)
    made = field(cinder_shell("snapshot-manage", volume_id, f"{disk}@daily", "--name", f"{disk}-daily"), "id")
    await_available(lambda: status(service, f"snapshots/{made}"), made)

    cinder_shell("snapshot-rename", f"{disk}-daily", f"{disk}-monday", "--description", "text")
    cinder_shell("snapshot-metadata", f"{disk}-monday", "set", "a=b", "tier=gold")
    cinder_shell("snapshot-metadata", f"{disk}-monday", "unset", "a")
    cinder_shell("rename", disk, f"{disk}-new")
    cinder_shell("metadata", f"{disk}-new", "set", "k=v")

    shown = cinder_shell("snapshot-show", f"{disk}-monday")
    assert (field(shown, "id"), field(shown, "description")) == (made, "text")
    assert field(cinder_shell("snapshot-metadata-show", f"{disk}-monday"), "tier") == "gold"
    assert field(cinder_shell("metadata-show", f"{disk}-new"), "k") == "v"


def test_cinder_s_shell_lists_and_sets_services_and_pools(service: Service, cinder_shell: Callable[..., str]) -> None:
    disabled = cinder_shell("service-disable", HOST, "cinder-volume", "--reason", "array swap")
    listed = cinder_shell("service-list", "--host", HOST, "--binary", "cinder-volume")
    enabled = cinder_shell("service-enable", HOST, "cinder-volume")

    assert "disabled" in disabled
    assert "array swap" in disabled
    assert "array swap" in listed
    assert "enabled" in enabled
    assert field(cinder_shell("get-pools", "--detail"), "volume_backend_name") == "files"
    assert "available" in cinder_shell("availability-zone-list")


def test_cinder_s_shell_shows_and_sets_quotas(service: Service, cinder_shell: Callable[..., str]) -> None:
    changed = cinder_shell("quota-update", PROJECT, "--snapshots", "7")
    usage = cinder_shell("quota-usage", PROJECT)
    cinder_shell("quota-delete", PROJECT)

    assert field(changed, "snapshots") == "7"
    assert re.search(r"\| snapshots +\| [0-9]+ +\| 0 +\| 7 ", usage)
    assert field(cinder_shell("quota-show", PROJECT), "snapshots") == "-1"
    assert field(cinder_shell("quota-defaults", PROJECT), "snapshots") == "-1"
    assert "maxTotalSnapshots" in cinder_shell("absolute-limits")
    assert "__DEFAULT__" in cinder_shell("type-default")
    assert "total_count" in cinder_shell("--os-volume-api-version", "3.36", "summary")


def test_cinder_s_shell_lists_manageable_volumes(service: Service, cinder_shell: Callable[..., str], disk: str) -> None:
    options = ["--detailed", "False", "--limit", "1", "--sort", "reference:asc"]
    listed = cinder_shell("manageable-list", HOST, *options, is_warm=False)
    made = field(cinder_shell("manage", HOST, disk), "id")
    await_available(lambda: status(service, f"volumes/{made}"), disk)

    assert disk in listed
    assert made in cinder_shell("manageable-list", HOST, "--detailed", "True")
