"""The commands of a member of the project: the service shows hosts of volumes to administrators only."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snapmanage.api.access import policy
from snapmanage.cmd.wiring import middleware
from snapmanage.drivers.fake import FakeDriver
from tests.functional.adopting.plans import NAMES, apply, make_plan, undo
from tests.functional.adopting.shell import Shell
from tests.functional.api.access.test_policy import configured
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, SERVER
from tests.functional.world import World, running_world

OTHER_SERVER = "storage-1@slow"
RULES = (policy.MANAGE, policy.LIST_MANAGEABLE, policy.MANAGE_VOLUME, policy.UNMANAGE)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Run a world of two backends with equal names, whose policy lets members manage snapshots and volumes."""
    rules = "".join(f'"{rule}": "role:admin or role:member"\n' for rule in RULES)
    backends = {SERVER: FakeDriver(), OTHER_SERVER: FakeDriver()}
    permissive = middleware.policy(configured(tmp_path, rules))
    with running_world(tmp_path, backends, authenticate=by_token(), policy=permissive) as made:
        made.client.headers = token("member", PROJECT)
        yield made


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Shell:
    folder = tmp_path / "client"
    folder.mkdir()
    made = Shell(world.client, folder)
    made.environment |= {"OS_AUTH_TYPE": "admin_token", "OS_TOKEN": f"member@{PROJECT}"}
    return made


def entries(plan: str, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, Path(plan).read_text().splitlines())
    return [line for line in lines if line.get("do") == kind]


def test_plan_of_a_member_finds_a_registered_volume(shell: Shell, world: World) -> None:
    volume_id = world.register_volume()

    plan = make_plan(shell)

    assert entries(plan, "register-volume") == []
    assert {each["volume"] for each in entries(plan, "manage")} == {volume_id}


def test_plan_of_a_member_takes_no_volume_of_the_same_name_on_another_backend(shell: Shell, world: World) -> None:
    world.register_volume(host=OTHER_SERVER)

    plan = make_plan(shell)

    assert [each["host"] for each in entries(plan, "register-volume")] == [SERVER]


def test_apply_of_a_member_uses_a_volume_that_was_registered_since_the_plan(shell: Shell, world: World) -> None:
    plan = make_plan(shell)
    world.register_volume(host=OTHER_SERVER)
    volume_id = world.register_volume()

    assert apply(shell, plan) == (0, "3 managed, 0 failed, 0 undone, 0 in progress, 0 not sent")

    shown = world.client.get("snapshots/detail").json()["snapshots"]
    assert {(each["name"], each["volume_id"]) for each in shown} == {(name, volume_id) for name in NAMES}


def label(world: World, plan: str, snapshot_id: str, **more: str) -> None:
    """Give a snapshot the label of a plan, as each member of the project can."""
    plan_id = json.loads(Path(plan).read_text().partition("\n")[0])["id"]
    pairs = {"adopted-by": f"plan:{plan_id}"} | more
    assert world.client.post(f"snapshots/{snapshot_id}/metadata", json={"metadata": pairs}).status_code == 200


def on_backend(world: World) -> set[str]:
    return {each.name for each in world.backends[SERVER].list_snapshots()}


@pytest.mark.parametrize("more", [{}, {"adopted-as": "s1"}], ids=["label", "key"])
def test_undo_leaves_a_snapshot_that_only_has_the_label_of_the_plan(
    shell: Shell, world: World, more: dict[str, str]
) -> None:
    other = world.manage_snapshot(world.register_volume(), NAMES[0])
    plan = make_plan(shell, "--exclude", NAMES[0])
    apply(shell, plan)
    label(world, plan, other, **more)

    code, lines = undo(shell, plan)

    assert (code, "2 unmanaged, 0 remain" in lines) == (0, True)
    assert lines[-1].startswith("1 record has the metadata ")
    assert f"but no entry in the plan; not unmanaged: {other}" in lines[-1]
    assert world.client.snapshot(other)["status"] == "available"
    assert set(NAMES[1:]) < on_backend(world)


def test_apply_carries_out_an_entry_whose_key_another_snapshot_has(shell: Shell, world: World) -> None:
    other = world.manage_snapshot(world.register_volume(), NAMES[0])
    plan = make_plan(shell, "--exclude", NAMES[0])
    label(world, plan, other, **{"adopted-as": "s1"})

    assert apply(shell, plan) == (0, "2 managed, 0 failed, 0 undone, 0 in progress, 0 not sent")

    assert on_backend(world).isdisjoint(NAMES)
