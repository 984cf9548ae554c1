"""The contract's cases over HTTP: Cinder's answer, or the right answer where Cinder is wrong.

`data/rest_cases.json` holds them in one form. Every case names its existing snapshot `x`, and here each
gets a name of its own, since a reference that is under way answers 409. Every database answers alike.
"""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from snapmanage.drivers.fake import FakeDriver
from tests.functional.client import PROJECT, SERVER
from tests.functional.world import World, running_world

CASES = json.loads((Path(__file__).parents[2] / "data" / "rest_cases.json").read_text())
BACKEND_VOLUME = "backend-vol-00001"


@dataclass(frozen=True)
class Lab:
    """The world of the cases: a volume with twenty snapshots."""

    world: World
    volume_id: str


@pytest.fixture(scope="module", params=["sqlite", "mariadb", "postgresql"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    driver = FakeDriver(fake_volumes=0)
    driver.add_volume(BACKEND_VOLUME)
    for number in range(20):
        driver.add_snapshot(BACKEND_VOLUME, f"backend-snap-{number:07}")
    url = None if request.param == "sqlite" else request.getfixturevalue(request.param).database()
    with running_world(tmp_path_factory.mktemp("lab"), {SERVER: driver}, url=url) as world:
        yield Lab(world, world.register_volume(BACKEND_VOLUME))


def title(case: dict[str, Any]) -> str:
    return f"{case['case']} {case['method']} {case['microversion']}".replace(" ", "-")


@pytest.mark.parametrize(
    ("number", "case"),
    [pytest.param(number, case, id=title(case)) for number, case in enumerate(CASES)],
)
def test_case_is_answered_like_the_reference(lab: Lab, number: int, case: dict[str, Any]) -> None:
    headers = case["headers"] | {"X-Auth-Token": f"somebody:{PROJECT}"}

    answer = lab.world.client.request(
        case["method"], filled(case["path"], lab), case["microversion"], headers, data=body_of(case, number, lab)
    )

    assert answer.status_code == case["expect"]["status"], answer.text
    assert case["expect"]["top_key"] in (None, *answer.json())
    assert "Traceback" not in answer.text
    if answer.status_code >= 400:
        [fault] = answer.json().values()
        assert fault.keys() == {"code", "message"}
        assert fault["code"] == answer.status_code


def body_of(case: dict[str, Any], number: int, lab: Lab) -> bytes | None:
    """Return the body of a case; a body that is not UTF-8 is written as a Python bytes literal."""
    text: str | None = case["body"]
    if text is None:
        return None
    if text.startswith("b'"):
        written: bytes = ast.literal_eval(text)
        return written
    return filled(text.replace('"source-name": "x"', f'"source-name": "x-{number}"'), lab).encode()


def filled(text: str, lab: Lab) -> str:
    known = {
        "volume_id": lab.volume_id,
        "VOLUME_ID_UPPER": lab.volume_id.upper(),
        "project_id": PROJECT,
        "host": SERVER,
        "bare_host": SERVER.partition("@")[0],
    }
    for name, value in known.items():
        text = text.replace(f"{{{name}}}", value)
    return text
