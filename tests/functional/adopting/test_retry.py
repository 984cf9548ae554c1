"""`snapmanage apply --retry` carries out failed operations again."""

from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.backend import GIB
from tests.functional.adopting.plans import NAMES, apply, journal, make_plan, names, snapshots, undo
from tests.functional.adopting.shell import Shell
from tests.functional.world import World


@pytest.fixture
def failed_plan(shell: Shell, world: World, plan: str) -> str:
    """Apply the plan while the backend is broken, and repair the backend."""
    world.fail_at({"rename": errors.Unusable("broken")})
    assert apply(shell, plan)[0] == 2
    world.fail_at({})
    return plan


def test_failed_operations_are_carried_out_again(shell: Shell, world: World, failed_plan: str) -> None:
    ids = {each["id"] for each in snapshots(world)}

    assert apply(shell, failed_plan, "--retry") == (0, "3 managed, 0 failed, 0 undone, 0 in progress, 0 not sent")

    assert {each["id"] for each in snapshots(world)} == ids
    assert names(world).isdisjoint(NAMES)


def test_failed_operations_stay_failed_without_the_option(shell: Shell, world: World, failed_plan: str) -> None:
    assert apply(shell, failed_plan) == (2, "0 managed, 3 failed, 0 undone, 0 in progress, 0 not sent")


def test_volume_whose_registration_failed_is_registered_again(shell: Shell, world: World, plan: str) -> None:
    world.fail_at({"find": errors.Unusable("broken")})
    assert apply(shell, plan) == (2, "0 managed, 3 failed, 0 undone, 0 in progress, 0 not sent")
    assert snapshots(world) == []
    world.fail_at({})

    assert apply(shell, plan, "--retry")[0] == 0

    assert {each["status"] for each in snapshots(world)} == {"available"}


def test_replaced_snapshot_is_not_retried(shell: Shell, world: World, failed_plan: str) -> None:
    world.driver.remove(NAMES[0])
    world.driver.add_snapshot("volume-1", NAMES[0], GIB)

    ended = shell.run("apply", failed_plan, "--retry", "--yes")

    assert ended.returncode == 2
    assert "is not retried: identity was " in ended.stderr
    assert ended.stderr.splitlines()[-1] == "2 managed, 1 failed, 0 undone, 0 in progress, 0 not sent"
    reasons = [each["why"] for each in journal(failed_plan) if each.get("state") == "failed"]
    assert reasons[-1] == "changed_since_plan"


def test_failed_unmanage_is_left_to_undo(shell: Shell, world: World, plan: str) -> None:
    apply(shell, plan)
    world.fail_at({"rename": errors.Unusable("broken")})
    assert undo(shell, plan)[0] == 2
    world.fail_at({})

    ended = shell.run("apply", plan, "--retry", "--yes")

    assert ended.returncode == 2
    assert "its unmanaging failed; finish it with undo" in ended.stderr
    assert {each["status"] for each in snapshots(world)} == {"error"}
    assert undo(shell, plan)[0] == 0
    assert names(world) == set(NAMES)


def test_service_without_the_action_is_refused_with_the_remedy(plain_shell: Shell, plain_world: World) -> None:
    plan = make_plan(plain_shell)

    ended = plain_shell.run("apply", plan, "--retry", "--yes")

    assert ended.returncode == 1
    assert "undo PLAN --only failed, then make a new plan" in ended.stderr
    assert snapshots(plain_world) == []
    assert not Path(f"{plan}.journal").exists()
