"""`POST /os-snapshot-manage/batch`: many snapshots in one request, each with an outcome of its own; and chosen ids."""

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from snapmanage.api import schemas
from snapmanage.api.access import policy
from snapmanage.api.handlers.batches import LONGEST_KEY
from snapmanage.api.request import Limits
from snapmanage.cmd.wiring import middleware
from snapmanage.core.origins import protection
from snapmanage.core.quotas import Limits as QuotaLimits
from snapmanage.drivers.fake import FakeDriver
from snapmanage.manage import queries
from snapmanage.manage.rules import Rules
from snapmanage.testing.waiting import until
from tests.examples import new_id
from tests.functional.api.access.test_policy import configured
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, SERVER, Client, fault
from tests.functional.world import OTHER_PROJECT, World, running_world

MANY = 300


def entry(volume_id: str, ref: Any, **fields: Any) -> dict[str, Any]:
    return {"volume_id": volume_id, "ref": ref} | fields


def post(client: Client, *entries: Any, key: str | None = None, **more: Any) -> requests.Response:
    headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
    body = json.dumps({"snapshots": entries}, separators=(",", ":"))
    path = more.pop("path", "os-snapshot-manage/batch")
    return client.post(path, data=body, headers=headers | more.pop("headers", {}), **more)


def outcomes(answer: requests.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 207, answer.text
    found: list[dict[str, Any]] = answer.json()["snapshots"]
    return found


def refusal(outcome: dict[str, Any]) -> tuple[int, str, str]:
    """Return status, name and text of a refused entry, after a check of its form."""
    [(name, body)] = [(name, each) for name, each in outcome.items() if name not in ("status", "error_code")]
    assert body.keys() == {"code", "message"}
    assert body["code"] == outcome["status"]
    return body["code"], name, body["message"]


def snapshots(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.client.get("snapshots").json()["snapshots"]
    return found


def test_entries_are_managed_and_shown_like_single_requests(world: World) -> None:
    volume = world.register_volume()

    answer = post(
        world.client,
        entry(volume, "volume-1-snapshot-1", name="one", metadata={"a": "b"}),
        entry(volume, {"source-name": "volume-1-snapshot-2"}),
    )

    first, second = outcomes(answer)
    assert (first["status"], second["status"]) == (202, 202)
    assert first["snapshot"].keys() == world.client.manage(volume, "another").json()["snapshot"].keys()
    assert (first["snapshot"]["name"], first["snapshot"]["metadata"]) == ("one", {"a": "b"})
    for each in (first, second):
        assert world.await_settled(each["snapshot"]["id"])["status"] == "available"
    assert world.audited_events(first["snapshot"]["id"], ".end") == ["snapshot.manage.start", "snapshot.manage.end"]


def test_hundreds_of_snapshots_are_managed(tmp_path: Path) -> None:
    with running_world(tmp_path, {SERVER: FakeDriver(fake_snapshots=MANY)}) as world:
        volume = world.register_volume()

        found = outcomes(post(world.client, *[entry(volume, f"volume-1-snapshot-{1 + n}") for n in range(MANY)]))

        assert [each["status"] for each in found] == [202] * MANY
        until(lambda: {each["status"] for each in snapshots(world)} == {"available"}, "all snapshots to be available")
        world.await_empty_outbox()


def test_refused_entry_has_the_status_and_the_text_of_a_single_refusal(tmp_path: Path) -> None:
    with running_world(tmp_path, rules=Rules(quota=QuotaLimits(snapshots=2))) as world:
        volume, unknown = world.register_volume(), new_id()
        world.bus.away = True  # snapshots stay as requested
        snapshot_id = world.request_manage(volume, "taken")
        alone = [world.client.manage(volume, "taken"), world.client.manage(unknown, "x")]

        found = outcomes(
            post(
                world.client,
                entry(volume, "taken"),
                entry(volume, "free", idempotency_key="k"),
                entry(unknown, "x"),
                entry(volume, "other", id=snapshot_id),
                entry(volume, "another", idempotency_key="k"),
                entry(volume, "too many"),
            )
        )

    assert [found[0]["error_code"], found[2]["error_code"]] == [each.headers["Snapmanage-Error-Code"] for each in alone]
    refused = [refusal(each) for each in [*found[:1], *found[2:]]]
    assert refused[:2] == [fault(each) for each in alone]
    assert found[1]["status"] == 202
    assert [each[:2] for each in refused] == [
        (409, "conflictingRequest"),
        (404, "itemNotFound"),
        (409, "conflictingRequest"),
        (422, "unprocessableEntity"),
        (413, "overLimit"),
    ]
    assert [each.get("error_code") for each in found] == [
        "already_managed",
        None,
        "not_found",
        "id_in_use",
        "key_reused",
        "quota_exceeded",
    ]


def test_texts_for_callers_who_are_no_administrators_have_no_details(tmp_path: Path) -> None:
    members = middleware.policy(configured(tmp_path, f'"{policy.MANAGE}": "role:admin or role:member"\n'))
    with running_world(tmp_path, authenticate=by_token(), policy=members) as world:
        world.client.headers = token("admin", PROJECT)
        volume = world.register_volume()
        world.bus.away = True
        taken = world.request_manage(volume, "taken")

        [for_member] = outcomes(post(world.client, entry(volume, f"x-{taken}"), headers=token("member", PROJECT)))
        [for_admin] = outcomes(post(world.client, entry(volume, f"x-{taken}")))

    text = "The object on the backend is managed already, or a request to manage it is being carried out."
    assert refusal(for_member)[2] == f"{text} Its record is {taken}."
    assert f"x-{taken}" in refusal(for_admin)[2]


def test_member_may_not_force_a_new_name_in_an_entry_and_the_others_are_accepted(tmp_path: Path) -> None:
    members = middleware.policy(configured(tmp_path, f'"{policy.MANAGE}": "role:admin or role:member"\n'))
    with running_world(tmp_path, authenticate=by_token(), policy=members) as world:
        world.client.headers = token("admin", PROJECT)
        volume = world.register_volume()
        forced = {"metadata": {protection.FORCE: "true"}}
        entries = [entry(volume, "a"), entry(volume, "b", **forced), entry(volume, "c")]

        mixed = outcomes(post(world.client, *entries, headers=token("member", PROJECT)))
        [alone] = outcomes(post(world.client, entries[1], headers=token("member", PROJECT)))
        [by_admin] = outcomes(post(world.client, entries[1]))

    assert [each["status"] for each in (*mixed, by_admin)] == [202, 403, 202, 202]
    assert mixed[1] == alone
    text = "Only an administrator may set the metadata snapmanage:force"
    assert (refusal(alone)[:2], refusal(alone)[2][: len(text)]) == ((403, "forbidden"), text)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"ref": ""}, "snapshots/2/ref"),
        ({"ref": {}}, "snapshots/2/ref"),
        ({"ref": {"a": ["x"] * 1001}}, "snapshots/2/ref has more than 1000 values"),
        ({"volume_id": "no"}, "snapshots/2/volume_id must be a UUID"),
        ({"id": "no"}, "snapshots/2/id must be a UUID"),
        ({"id": 5}, "snapshots/2/id"),
        ({"idempotency_key": ""}, "snapshots/2/idempotency_key"),
        ({"idempotency_key": "caf\u00e9"}, "snapshots/2/idempotency_key"),
        ({"metadata": {"a": 5}}, "snapshots/2/metadata/a"),
        ({"name": "n" * 256}, "snapshots/2/name"),
        ({"unknown": 1}, "snapshots/2"),
        (1, "snapshots/2"),
        ([], "snapshots/2"),
        (None, "snapshots/2"),
    ],
)
def test_malformed_entry_is_named_and_refuses_no_other(world: World, wrong: Any, text: str) -> None:
    volume = world.register_volume()
    good = [entry(volume, f"good-{number}") for number in range(4)]
    bad = good[2] | wrong if isinstance(wrong, dict) else wrong

    mixed = outcomes(post(world.client, *good[:2], bad, *good[3:]))

    assert [each["status"] for each in mixed] == [202, 202, 400, 202]
    status, code, said = refusal(mixed[2])
    assert (status, code) == (400, "badRequest")
    assert text in said
    assert len(snapshots(world)) == 3


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "'snapshots' is a required property"),
        ({"snapshots": []}, "snapshots"),
        ({"snapshots": {}}, "snapshots"),
        ({"snapshot": {}}, "body"),
        ({"snapshots": [{}] * (schemas.MOST_ENTRIES + 1)}, "has 1001 entries; the limit is 1000"),
        ({"snapshots": [{"ref": {"a": [1] * 60_000}}]}, "more than 50000 values and keys; send fewer entries"),
    ],
)
def test_malformed_batch_is_refused(world: World, body: Any, text: str) -> None:
    status, _, said = fault(world.client.post("os-snapshot-manage/batch", json=body))

    assert status == 400
    assert text in said


def test_key_of_a_batch_makes_the_keys_of_its_entries(world: World) -> None:
    volume = world.register_volume()
    batch = [entry(volume, "one"), entry(volume, "two", idempotency_key="own"), entry(volume, "three")]
    first = outcomes(post(world.client, *batch, key="plan"))

    again = outcomes(post(world.client, *batch, key="plan"))
    alone = world.client.post(
        "os-snapshot-manage", json={"snapshot": batch[2]}, headers={"Idempotency-Key": "plan/2"}
    ).json()
    own = world.client.post(
        "os-snapshot-manage", json={"snapshot": entry(volume, "two")}, headers={"Idempotency-Key": "own"}
    ).json()

    assert [each["snapshot"]["id"] for each in again] == [each["snapshot"]["id"] for each in first]
    assert [alone["snapshot"]["id"], own["snapshot"]["id"]] == [first[2]["snapshot"]["id"], first[1]["snapshot"]["id"]]
    assert len(snapshots(world)) == 3


def test_answer_shows_the_snapshots_of_repeated_entries_up_to_a_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = world.register_volume()
    one, two = (entry(volume, f"volume-1-snapshot-{number}", idempotency_key=str(number)) for number in (1, 2))
    ids = [each["snapshot"]["id"] for each in outcomes(post(world.client, one, two))]
    for snapshot_id in ids:
        world.await_settled(snapshot_id)
    metadata = {f"key{number}": "\U0001f600" * 255 for number in range(10)}
    assert world.client.post(f"snapshots/{ids[0]}/metadata", json={"metadata": metadata}).status_code == 200
    monkeypatch.setattr(queries, "LARGEST_PAGE", 100_000)

    found = outcomes(post(world.client, two, *[one] * 5, two, entry(volume, "volume-1-snapshot-3")))

    assert [each["status"] for each in found] == [202, 202, 202, 202, 400, 400, 400, 202]
    assert [each["snapshot"]["id"] for each in found[:4]] == [ids[1], ids[0], ids[0], ids[0]]
    assert "send its entry in another batch" in refusal(found[4])[2]


@pytest.mark.parametrize("key", ["k" * (LONGEST_KEY + 1), "a\tb", "\xe9"])
def test_malformed_key_of_a_batch_is_refused(world: World, key: str) -> None:
    answer = post(world.client, entry(new_id(), "x"), headers={"Idempotency-Key": key.encode("latin-1")})

    assert fault(answer)[0] == 400
    assert f"Idempotency-Key of a batch must have 1 to {LONGEST_KEY} printable ASCII characters" in fault(answer)[2]
    assert outcomes(post(world.client, entry(new_id(), "x"), key="k" * LONGEST_KEY))


def test_second_path_exists_from_its_microversion_on(world: World) -> None:
    batch = [entry(new_id(), "x")]

    answers = [
        post(world.client, *batch, path="manageable_snapshots/batch", version=version) for version in ("3.7", "3.8")
    ]

    assert [answer.status_code for answer in answers] == [404, 207]
    assert post(world.client, *batch, path="os-snapshot-manage/batch/").status_code == 207


def test_body_of_a_batch_may_be_larger_than_others(tmp_path: Path) -> None:
    with running_world(tmp_path, limits=Limits(body=4096, batch_body=20_000)) as world:
        volume = world.register_volume()
        large = [entry(volume, "x" * 900 + str(number)) for number in range(15)]

        accepted = post(world.client, *large, path="os-snapshot-manage/batch?a=b")
        too_large = post(world.client, *large, *large)
        single = post(world.client, *large, path="os-snapshot-manage")
        elsewhere = post(world.client, *large, path="snapshots?/os-snapshot-manage/batch")

    assert [each["status"] for each in outcomes(accepted)] == [202] * 15
    assert fault(too_large)[::2] == (413, "Request is too large: the limit of a body is 20000 bytes.")
    assert fault(single)[::2] == (413, "Request is too large: the limit of a body is 4096 bytes.")
    assert fault(elsewhere)[0] == 413


def test_batch_needs_the_permission_to_manage(tmp_path: Path) -> None:
    with running_world(tmp_path, authenticate=by_token()) as world:
        answer = world.client.post("os-snapshot-manage/batch", data=b"{" * 200_000, headers=token("reader", PROJECT))
        nobody = world.client.post("os-snapshot-manage/batch", json={})

    assert fault(answer)[0] == 403
    assert "snapshot_manage" in fault(answer)[2]
    assert fault(nobody)[0] == 401


def test_projects_do_not_see_each_others_volumes(world: World) -> None:
    volume = world.register_volume()
    stranger = world.another_client(OTHER_PROJECT)

    [found] = outcomes(post(stranger, entry(volume, "x")))

    stranger.close()
    assert refusal(found)[:2] == (404, "itemNotFound")


# Chosen ids of single requests.


def test_client_may_choose_the_ids_of_new_records(world: World) -> None:
    volume_id, snapshot_id = new_id(), new_id()

    volume = world.client.post(
        "os-volume-manage",
        json={"volume": {"host": SERVER, "ref": "volume-1"}},
        headers={"Snapmanage-Volume-Id": volume_id.upper()},
    )
    until(lambda: world.client.volume(volume_id)["status"] == "available", "the volume to be available")
    snapshot = world.client.post(
        "os-snapshot-manage",
        json={"snapshot": entry(volume_id, "volume-1-snapshot-1")},
        headers={"Snapmanage-Snapshot-Id": snapshot_id},
    )

    assert volume.json()["volume"]["id"] == volume_id
    assert snapshot.json()["snapshot"]["id"] == snapshot_id
    assert world.await_settled(snapshot_id)["status"] == "available"


@pytest.mark.parametrize(
    ("path", "header", "kind"),
    [
        ("os-snapshot-manage", "Snapmanage-Snapshot-Id", "snapshot"),
        ("os-volume-manage", "Snapmanage-Volume-Id", "volume"),
    ],
)
def test_chosen_id_must_be_a_new_uuid(world: World, path: str, header: str, kind: str) -> None:
    volume = world.register_volume()
    unmanaged = world.manage_snapshot(volume, "volume-1-snapshot-1")
    world.client.unmanage(unmanaged)
    world.await_unmanaged(unmanaged)
    body = {"volume": {"host": SERVER, "ref": "volume-2"}, "snapshot": entry(volume, "volume-1-snapshot-2")}[kind]

    answers = [
        world.client.post(path, json={kind: body}, headers={header: chosen})
        for chosen in ("", "no", volume, unmanaged, unmanaged.upper())
    ]

    assert [fault(answer)[:2] for answer in answers] == [(400, "badRequest")] * 2 + [(409, "conflictingRequest")] * 3
    assert fault(answers[1])[2] == f"{header} must be a UUID, not 'no'"
    assert fault(answers[3])[2] == (
        f"The id {unmanaged} is that of another record, perhaps of a deleted one: choose a new UUID."
    )
