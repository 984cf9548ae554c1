"""snapmanage's own fields, for clients that ask for them."""

from collections.abc import Iterator
from typing import Any

import pytest

from snapmanage.core.values.text import time_text
from snapmanage.volume.endpoint import Endpoint
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, SERVER, Client, fault
from tests.functional.world import World, running_world

HEADER = "OpenStack-API-Version"
OWN = {f"snapmanage:{name}" for name in ("reference", "backend_name", "original_name", "reason", "reason_code", "host")}
SOURCE = "volume-1-snapshot-1"
ASKED = {HEADER: "volume 3.65, snapmanage 1.0"}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("own"), authenticate=by_token()) as world:
        world.client.headers |= token("admin", PROJECT)
        yield world


@pytest.fixture(scope="module")
def known(shown: World) -> dict[str, str]:
    """Return the ids of a volume, of an available snapshot and of one in error."""
    volume_id = shown.register_volume()
    failed = shown.request_manage(volume_id, "nowhere")
    good = shown.manage_snapshot(volume_id, SOURCE)
    shown.await_settled(failed)
    return {"volume": volume_id, "snapshot": good, "failed": failed}


@pytest.fixture(scope="module")
def reader(shown: World) -> Iterator[Client]:
    client = shown.another_client()
    client.headers |= token("reader", PROJECT)
    yield client
    client.close()


def own(view: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in view.items() if name.startswith("snapmanage:")}


def entries_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = next(value for name, value in body.items() if name.startswith("manageable-"))
    return found


def get(client: Client, path: str, version: str = ASKED[HEADER]) -> Any:
    answer = client.get(path, headers={HEADER: version})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_available_snapshot_shows_its_object(shown: World, known: dict[str, str]) -> None:
    snapshot = get(shown.client, f"snapshots/{known['snapshot']}")["snapshot"]

    assert own(snapshot) == {
        "snapmanage:reference": {"source-name": SOURCE},
        "snapmanage:backend_name": f"snapshot-{known['snapshot']}",
        "snapmanage:original_name": SOURCE,
        "snapmanage:reason": None,
        "snapmanage:reason_code": None,
        "snapmanage:host": SERVER,
    }


def test_snapshot_in_error_shows_what_was_asked_for_and_why_it_failed(shown: World, known: dict[str, str]) -> None:
    snapshot = get(shown.client, f"snapshots/{known['failed']}")["snapshot"]

    assert snapshot["snapmanage:reference"] == {"source-name": "nowhere"}
    assert snapshot["snapmanage:reason_code"] == "source_not_found"
    assert "nowhere" in snapshot["snapmanage:reason"]


def test_reader_sees_no_host_and_a_sentence_instead_of_the_reason(
    shown: World, known: dict[str, str], reader: Client
) -> None:
    snapshot = get(reader, f"snapshots/{known['failed']}")["snapshot"]

    assert own(snapshot).keys() == OWN - {"snapmanage:host"}
    assert snapshot["snapmanage:reason"] == "The backend has no object of that name."
    operation = get(reader, f"snapshots/{known['failed']}/operation")["operation"]
    assert operation["reason"] == snapshot["snapmanage:reason"]


def test_volume_shows_its_object(shown: World, known: dict[str, str]) -> None:
    volume = get(shown.client, f"volumes/{known['volume']}")["volume"]

    assert own(volume).keys() == OWN
    assert volume["snapmanage:original_name"] == "volume-1"


@pytest.mark.parametrize("kind", ["snapshots", "volumes"])
def test_detailed_list_has_the_fields_and_the_summary_has_none(shown: World, known: dict[str, str], kind: str) -> None:
    detailed = get(shown.client, f"{kind}/detail")[kind]

    assert all(own(each).keys() == OWN for each in detailed)
    assert detailed == [get(shown.client, f"{kind}/{each['id']}")[kind[:-1]] for each in detailed]
    assert not any(own(each) for each in get(shown.client, kind)[kind])


@pytest.mark.parametrize("list_name", ["os-snapshot-manage", "manageable_volumes"])
def test_manageable_object_shows_its_identity_and_its_time(shown: World, known: dict[str, str], list_name: str) -> None:
    by_name = {each.name: each for each in (*shown.driver.list_snapshots(), *shown.driver.list_volumes())}

    entries = entries_of(get(shown.client, f"{list_name}/detail?host={SERVER}"))

    assert {entry["reference"]["source-name"]: own(entry) for entry in entries} == {
        name: {
            "snapmanage:identity": by_name[name].identity,
            "snapmanage:created_at": time_text(at) if (at := by_name[name].created_at) else None,
        }
        for name in (entry["reference"]["source-name"] for entry in entries)
    }
    assert not any(own(each) for each in entries_of(get(shown.client, f"{list_name}?host={SERVER}")))


def test_server_of_an_earlier_release_knows_neither_identity_nor_time(
    shown: World, known: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def earlier(
        endpoint: Endpoint, ctxt: Any, marker: Any, limit: Any, offset: Any, sort_keys: Any, sort_dirs: Any
    ) -> Any:
        return answer(endpoint, ctxt, marker, limit, offset, sort_keys, sort_dirs)

    answer = Endpoint.get_manageable_snapshots
    monkeypatch.setattr(Endpoint, "get_manageable_snapshots", earlier)
    path = f"os-snapshot-manage/detail?host={SERVER}"
    before = entries_of(shown.client.get(path).json())

    entries = entries_of(get(shown.client, path))

    assert entries == [each | {"snapmanage:identity": None, "snapmanage:created_at": None} for each in before]


@pytest.mark.parametrize("version", ["volume 3.65", ASKED[HEADER]])
def test_unknown_field_of_a_server_that_sends_entries_is_not_shown(
    shown: World, known: dict[str, str], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    def with_field(endpoint: Endpoint, ctxt: Any, marker: Any, own_fields: bool = False, **page: Any) -> Any:
        if "text" in page:
            raise TypeError("got an unexpected keyword argument 'text'")
        entries: Any = answer(endpoint, ctxt, marker, own_fields=own_fields, **page)
        return [entry | {"later": 1} for entry in entries]

    path = f"os-snapshot-manage/detail?host={SERVER}"
    before = get(shown.client, path, version)
    answer = Endpoint.get_manageable_snapshots
    monkeypatch.setattr(Endpoint, "get_manageable_snapshots", with_field)

    assert get(shown.client, path, version) == before


@pytest.mark.parametrize("version", ["volume 3.65", "volume latest", "compute 2.1, volume 3.65"])
@pytest.mark.parametrize(
    "path",
    [
        "snapshots/{snapshot}",
        "snapshots/detail",
        "volumes/{volume}",
        "volumes/detail",
        f"os-snapshot-manage/detail?host={SERVER}",
        f"os-volume-manage/detail?host={SERVER}",
    ],
)
def test_answer_without_the_request_has_no_own_field(
    shown: World, known: dict[str, str], path: str, version: str
) -> None:
    answer = shown.client.get(path.format(**known), headers={HEADER: version})

    assert "snapmanage:" not in answer.text
    assert "snapmanage" not in answer.headers[HEADER]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("volume 3.65, snapmanage 1.0", "volume 3.65, snapmanage 1.0"),
        ("snapmanage 1.0,volume 3.65", "volume 3.65, snapmanage 1.0"),
        ("snapmanage 1.0", "volume 3.0, snapmanage 1.0"),
        ("volume latest, snapmanage latest", "volume 3.71, snapmanage 1.0"),
        ("volume 3.65, SnapManage 1.0", "volume 3.65, snapmanage 1.0"),
    ],
)
def test_answer_names_both_versions(shown: World, known: dict[str, str], asked: str, answered: str) -> None:
    answer = shown.client.get(f"snapshots/{known['snapshot']}", headers={HEADER: asked})

    assert answer.headers[HEADER] == answered
    assert own(answer.json()["snapshot"]).keys() == OWN


@pytest.mark.parametrize(
    ("asked", "status"),
    [("1.1", 406), ("2.0", 406), ("0.9", 406), ("one", 400), ("1", 400), ("1.0.0", 400), ("99999999999.0", 406)],
)
def test_other_version_of_the_own_fields_is_refused(shown: World, asked: str, status: int) -> None:
    answer = shown.client.get("snapshots", headers={HEADER: f"volume 3.8, snapmanage {asked}"})

    assert fault(answer)[0] == status
    assert "snapmanage" in answer.text
