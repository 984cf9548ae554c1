"""The reference's answers about servers, quotas, volume types and summaries: the same statuses and fields.

`data/rest_administration.json` has them as the reference gave them, so values differ. Its server is `{bare_host}@null`.
Every database answers alike.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snapmanage.drivers.fake import FakeDriver
from tests.functional.client import PROJECT
from tests.functional.world import World, running_world

CASES = json.loads((Path(__file__).parents[2] / "data" / "rest_administration.json").read_text())
SERVER = "storage-1@null"
# A limit of snapmanage's own.
OWN = {"failed_records"}


@pytest.fixture(scope="module", params=["sqlite", "mariadb", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = None if request.param == "sqlite" else request.getfixturevalue(request.param).database()
    with running_world(tmp_path_factory.mktemp("cases"), {SERVER: FakeDriver()}, url=url) as made:
        made.register_volume(host=SERVER, metadata={"k": "v", "c": "d"})
        yield made


@pytest.mark.parametrize(
    "case", [pytest.param(each, id=f"{each['case']} {each['microversion']}".replace(" ", "-")) for each in CASES]
)
def test_case_is_answered_like_the_reference(world: World, case: dict[str, Any]) -> None:
    body = json.loads(filled(json.dumps(case["body"])))

    answer = world.client.request(case["method"], filled(case["path"]).lstrip("/"), case["microversion"], json=body)

    assert answer.status_code == case["status"], answer.text
    assert fields(answer.json() if answer.content else "") == fields(case["answer"])


def filled(text: str) -> str:
    return text.replace("{bare_host}", "storage-1").replace("{project_id}", PROJECT)


def fields(answer: Any) -> Any:
    """Return the names of the fields of an answer, and those of the first entry of each list of objects."""
    if isinstance(answer, dict):
        return {name: fields(value) for name, value in answer.items() if name not in OWN}
    if isinstance(answer, list) and answer and isinstance(answer[0], dict) and "name" not in answer[0]:
        return fields(answer[0])
    return None


def test_types_have_the_fields_of_the_reference(world: World) -> None:
    [case] = [each for each in CASES if each["path"] == "/types"]

    [shown] = world.client.get("types").json()["volume_types"]

    assert shown.keys() == case["answer"]["volume_types"][0].keys()
