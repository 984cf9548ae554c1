"""The reference's answers to edits and to filters by time: the same statuses, and the same fields."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.functional.world import World

CASES = json.loads((Path(__file__).parents[2] / "data" / "edit_cases.json").read_text())
# The reference compares the time of a snapshot with the whole text of the filter, and so never finds one.
WRONG = {"snapshots updated since"}


def test_edits_are_answered_like_the_reference(world: World) -> None:
    """The cases follow each other, on one snapshot."""
    volume_id = world.register_volume()
    world.driver.add_volume("another")
    world.register_volume("another")
    snapshot_id = world.manage_snapshot(
        volume_id, "volume-1-snapshot-1", name="first", description="d", metadata={"a": "b"}
    )
    known = {"volume_id": volume_id, "snapshot_id": snapshot_id}
    differing = []

    for case in CASES:
        path = case["path"].removeprefix("/").format(**known)
        answer = world.client.request(case["method"], path, case["microversion"], json=case["body"])
        body = answer.json() if answer.content else ""
        if answer.status_code != case["status"] or not (case["case"] in WRONG or is_like(body, case["answer"])):
            differing.append((case["case"], answer.status_code, answer.text))

    assert differing == []


def is_like(answer: Any, reference: Any) -> bool:
    """Return whether two answers have the same fields at each level, and the same metadata."""
    if isinstance(reference, list):
        return isinstance(answer, list) and len(answer) == len(reference) and all(map(is_like, answer, reference))
    if not isinstance(reference, Mapping):
        return not isinstance(answer, Mapping | list)
    if not isinstance(answer, Mapping) or answer.keys() != reference.keys():
        return False
    if any(answer[name] != reference[name] for name in ("metadata", "meta") if isinstance(reference.get(name), dict)):
        return False
    return all(is_like(answer[name], reference[name]) for name in reference)
