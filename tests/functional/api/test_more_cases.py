"""The reference's answers about volumes, edits, servers, quotas and filters: the same statuses, fields and values.

`data/rest_more.json` has the requests in their order, with the answers that the reference gave. Its server is
`{bare_host}@null`, and each request finds the state after the ones before it. Every database answers alike.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from snapmanage.drivers.fake import FakeDriver
from tests.functional.client import PROJECT
from tests.functional.world import World, running_world

CASES = json.loads((Path(__file__).parents[2] / "data" / "rest_more.json").read_text())
SERVER = "storage-1@null"
VOLUME_ID = "5f1d5ac1-7d4e-4a2c-9b57-d3a3d5f6c001"
VOLUME = f"volume-{VOLUME_ID}"
MISSING = "(missing)"

# Differences on purpose: the places in an answer, and the reason.
DELIBERATE = {
    "/*_at": "the time of the test",
    "/*/message": "an error names the field and the remedy, and repeats no long value",
    "/manageable-volumes_links": "the link to the next page, as in the documentation of the Block Storage API",
    "/services/0/disabled_reason": "an enabled server has no reason; the reference keeps the last one",
    "/services/1": "snapmanage has no scheduler",
    "/limits/absolute/maxTotalBackup*": "snapmanage has no backups, so it limits none",
    "/limits/absolute/total*Used": "the reference had more records",
    "/quota_set/backup*": "snapmanage has no backups, so it limits none",
    "/quota_set/groups*": "snapmanage has no groups, so it limits none",
    "/quota_set/failed_records": "a limit of snapmanage's own",
    "/quota_set/*/in_use": "the reference had more records",
    "/volume_types/0/id": "the id of the only type is derived from its name",
    "/pools/0": "the reference's scheduler had not yet received the pools",
    "/availabilityZoneInfo/0/zoneState/available": "the reference counts no volume server, although one is up",
    "/snapshots/?": "the reference compares a time with the whole text of the filter, and so never finds a snapshot",
}


@pytest.fixture(params=["sqlite", "mariadb", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Run a world with the volume of the cases, a snapshot for them, and another one that stays managed."""
    driver = FakeDriver(fake_volumes=0)
    for name in (VOLUME, "backend-vol-0000003", "backend-vol-0000004"):
        driver.add_volume(name)
    for name in ("ok1", "managed"):
        driver.add_snapshot(VOLUME, name)
    url = None if request.param == "sqlite" else request.getfixturevalue(request.param).database()
    with running_world(tmp_path, {SERVER: driver}, url=url) as made:
        made.register_volume("backend-vol-0000003", host=SERVER)
        made.client.headers["Snapmanage-Volume-Id"] = VOLUME_ID
        made.register_volume(VOLUME, host=SERVER)
        made.manage_snapshot(VOLUME_ID, "managed")
        yield made


def test_cases_are_answered_like_the_reference(world: World) -> None:
    found = list(replayed(world))

    assert [each for each in found if not reasons(each)] == []
    assert {pattern for each in found for pattern in reasons(each)} == DELIBERATE.keys()


@dataclass(frozen=True)
class Difference:
    """A place in an answer that differs from the reference's, and both values."""

    case: str
    place: str
    given: Any
    expected: Any


def replayed(world: World) -> Iterator[Difference]:
    """Send the requests in their order; yield the differences of the answers."""
    known = {"volume_id": VOLUME_ID, "project_id": PROJECT, "bare_host": "storage-1", "user_id": "admin"}
    for number, case in enumerate(CASES):
        asked = filled(case, world, known)
        path = asked["path"].removeprefix("/")
        answer = world.client.request(asked["method"], path, asked["microversion"], json=asked["body"])
        body: Any = answer.json() if answer.content else ""
        if number == 0:
            known["snapshot_id"] = body["snapshot"]["id"]
            world.await_settled(known["snapshot_id"])
        expected = filled(case, world, known)
        title = f"{number}: {case['case']}, {case['microversion']}"
        if answer.status_code != expected["status"]:
            yield Difference(title, "status", answer.status_code, expected["status"])
        yield from differences(title, body, expected["answer"])


def filled(case: Mapping[str, Any], world: World, known: Mapping[str, str]) -> dict[str, Any]:
    text = json.dumps(case).replace("http://127.0.0.1:8776", world.client.root)
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    made: dict[str, Any] = json.loads(text)
    return made


def differences(case: str, given: Any, expected: Any, place: str = "") -> Iterator[Difference]:
    """Yield the innermost differences of two answers."""
    mine, theirs = parts(given), parts(expected)
    if mine is None or theirs is None or type(given) is not type(expected):
        if given != expected:
            yield Difference(case, place, given, expected)
        return
    for name in [*theirs, *(each for each in mine if each not in theirs)]:
        yield from differences(case, mine.get(name, MISSING), theirs.get(name, MISSING), f"{place}/{name}")


def parts(answer: Any) -> Mapping[Any, Any] | None:
    """Return the fields of an object or the entries of a list by their places; None for another value."""
    if isinstance(answer, list):
        return dict(enumerate(answer))
    return answer if isinstance(answer, dict) else None


def reasons(difference: Difference) -> set[str]:
    return {pattern for pattern in DELIBERATE if fnmatchcase(difference.place, pattern)}
