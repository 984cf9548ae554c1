"""Quota sets and limits over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import falcon
import pytest

from snapmanage.api.access.callers import Caller, identify
from snapmanage.core.quotas import Limits
from snapmanage.manage.rules import Rules
from tests.functional.client import PROJECT, Client, fault
from tests.functional.world import OTHER_PROJECT, World, running_world

DEFAULTS = Limits(snapshots=5, gigabytes=-1, volumes=7, failed_records=100)
PATH = f"os-quota-sets/{PROJECT}"


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path, rules=Rules(quota=DEFAULTS)) as made:
        yield made


@pytest.fixture
def overseen(tmp_path: Path) -> Iterator[World]:
    """Yield a world whose callers are administrators of all projects if their token says so, and readers otherwise."""

    def authenticate(request: falcon.Request, project_id: str | None) -> Caller:
        roles = (str(request.get_header("X-Auth-Token") or "admin"),)
        return identify(request, project_id, "ann", PROJECT, roles, bound=False)

    with running_world(tmp_path, rules=Rules(quota=DEFAULTS), authenticate=authenticate) as made:
        yield made


def quota_set(client: Client, query: str = "") -> dict[str, Any]:
    answer = client.get(f"{PATH}{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["quota_set"]
    return found


def put(client: Client, path: str = PATH, /, **limits: Any) -> Any:
    return client.request("PUT", path, json={"quota_set": limits})


def test_quota_set_has_the_limits_of_the_project_over_the_defaults(limited: World) -> None:
    put(limited.client, snapshots=1)

    shown = quota_set(limited.client)

    assert (shown["snapshots"], shown["volumes"], shown["gigabytes"], shown["backups"]) == (1, 7, -1, -1)
    assert limited.client.get(f"{PATH}/defaults").json()["quota_set"]["snapshots"] == 5


def test_usage_counts_the_records_of_the_project(limited: World) -> None:
    volume = limited.register_volume()
    limited.manage_snapshot(volume, "volume-1-snapshot-1")

    shown = quota_set(limited.client, "?usage=True")

    assert shown["snapshots"] == {"limit": 5, "in_use": 1, "reserved": 0}
    assert (shown["volumes"]["in_use"], shown["gigabytes"]["in_use"]) == (1, 1)
    assert shown["groups"] == {"limit": -1, "in_use": 0, "reserved": 0}


def test_changed_limit_takes_effect_at_once_and_others_stay(limited: World) -> None:
    volume = limited.register_volume()

    answer = put(limited.client, snapshots=0, tenant_id=PROJECT)

    assert answer.json()["quota_set"]["snapshots"] == 0
    assert "id" not in answer.json()["quota_set"]
    assert fault(limited.client.manage(volume, "volume-1-snapshot-1"))[0] == 413


def test_deleted_quota_restores_the_defaults(limited: World) -> None:
    put(limited.client, snapshots=0, failed_records=3)

    answer = limited.client.request("DELETE", PATH)

    assert (answer.status_code, answer.content) == (200, b"")
    assert (quota_set(limited.client)["snapshots"], quota_set(limited.client)["failed_records"]) == (5, 100)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"snapshots": -2}, "snapshots must be >= -1"),
        ({"snapshots": "-2"}, "snapshots must be >= -1"),
        ({"gigabytes": 2**31}, "gigabytes must be <= 2147483647"),
        ({"gigabytes": "9" * 200}, "gigabytes must be <= 2147483647"),
        ({"volumes": "many"}, "volumes must be a whole number"),
        ({"volumes": None}, "attribute quota_set/volumes"),
        ({"volumes": 1.5}, "attribute quota_set/volumes"),
        ({"volumes": True}, "attribute quota_set/volumes"),
        ({"bananas": 2, "snapshots": 1}, "Bad key(s) in quota set: bananas"),
        ({"backups": 3}, "backups can't be limited"),
        ({"volumes___DEFAULT__": 3}, "volumes___DEFAULT__ can't be limited"),
    ],
)
def test_malformed_quota_changes_nothing(limited: World, limits: dict[str, Any], why: str) -> None:
    answer = put(limited.client, **limits)

    assert fault(answer)[0] == 400
    assert why in answer.json()["badRequest"]["message"]
    assert quota_set(limited.client)["snapshots"] == 5


def test_quota_set_may_be_sent_back_as_it_was_shown(limited: World) -> None:
    shown = quota_set(limited.client)

    assert put(limited.client, **shown).status_code == 200
    assert quota_set(limited.client) == shown


def test_limit_below_the_usage_is_refused_only_if_the_client_requires_it(limited: World) -> None:
    limited.register_volume()

    checked = put(limited.client, f"{PATH}?skip_validation=False", volumes=0)
    unchecked = put(limited.client, volumes=0)

    assert (checked.status_code, unchecked.status_code) == (400, 200)
    assert "volumes limit must be equal or greater than existing resources" in checked.text


@pytest.mark.parametrize(
    ("project", "status"), [("p" * 255, 403), ("p" * 256, 400), (f"{PROJECT}%20", 400), ("%C3%A4", 400), ("%FF", 400)]
)
def test_project_of_a_quota_set_has_at_most_255_characters_of_ascii(shared: World, project: str, status: int) -> None:
    assert fault(put(shared.client, f"os-quota-sets/{project}", snapshots=1))[0] == status


@pytest.mark.parametrize(("role", "method", "status"), [("admin", "PUT", 200), ("admin", "GET", 200)])
def test_administrator_changes_the_quotas_of_other_projects(
    overseen: World, role: str, method: str, status: int
) -> None:
    answer = overseen.client.request(
        method, f"os-quota-sets/{OTHER_PROJECT}", json={"quota_set": {"snapshots": 3}}, headers={"X-Auth-Token": role}
    )

    assert answer.status_code == status
    assert quota_set(overseen.client)["snapshots"] == 5


@pytest.mark.parametrize(
    ("method", "project", "status"),
    [("GET", PROJECT, 200), ("GET", OTHER_PROJECT, 403), ("PUT", PROJECT, 403), ("DELETE", PROJECT, 403)],
)
def test_reader_sees_the_quota_of_its_project_only(overseen: World, method: str, project: str, status: int) -> None:
    answer = overseen.client.request(
        method, f"os-quota-sets/{project}", json={"quota_set": {}}, headers={"X-Auth-Token": "reader"}
    )

    assert answer.status_code == status


def test_limits_have_the_usage_of_the_project(limited: World) -> None:
    limited.register_volume()

    found = limited.client.get("limits").json()["limits"]

    assert found["rate"] == []
    absolute = found["absolute"]
    assert (absolute["maxTotalVolumes"], absolute["totalVolumesUsed"], absolute["maxTotalSnapshots"]) == (7, 1, 5)


def test_malformed_parameter_of_limits_is_refused(limited: World) -> None:
    assert limited.client.get("limits?reserved=1").status_code == 200
    assert fault(limited.client.get("limits?reserved=null"))[2] == "reserved must be true or false"


@pytest.mark.parametrize(
    ("role", "version", "limit"), [("admin", "3.39", 2), ("admin", "3.38", 5), ("reader", "3.39", 5)]
)
def test_administrator_sees_the_limits_of_a_project_from_their_microversion(
    overseen: World, role: str, version: str, limit: int
) -> None:
    put(overseen.client, f"os-quota-sets/{OTHER_PROJECT}", snapshots=2)

    answer = overseen.client.get(f"limits?project_id={OTHER_PROJECT}", version=version, headers={"X-Auth-Token": role})

    assert answer.json()["limits"]["absolute"]["maxTotalSnapshots"] == limit
