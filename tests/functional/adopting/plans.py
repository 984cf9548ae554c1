"""Plans of a test's world, and the commands that work on them."""

import json
from pathlib import Path
from typing import Any

from tests.functional.adopting.shell import Shell
from tests.functional.client import SERVER
from tests.functional.world import World

NAMES = [f"volume-1-snapshot-{number}" for number in (1, 2, 3)]
LONG_NAME = "x" * 300


def make_plan(shell: Shell, *arguments: str, name: str = "plan.jsonl") -> str:
    """Plan to manage the snapshots of the world; return the path of the plan."""
    path = str(shell.folder / name)
    ended = shell.run("plan", "--host", SERVER, "--out", path, *arguments)
    assert ended.returncode == 0, ended.stderr
    return path


def refused_names(plan: str, first: int, last: int) -> None:
    """Change some lines of a plan, so that the service refuses their entries."""
    lines = [json.loads(line) for line in Path(plan).read_text().splitlines()]
    for line in lines[first:last]:
        line["name"] = LONG_NAME
    Path(plan).write_text("".join(json.dumps(line) + "\n" for line in lines))


def apply(shell: Shell, plan: str, *arguments: str) -> tuple[int, str]:
    """Return the exit code and the last line of `apply`."""
    ended = shell.run("apply", plan, "--yes", *arguments)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr.splitlines()[-1]


def undo(shell: Shell, plan: str, *arguments: str) -> tuple[int, list[str]]:
    """Return the exit code and the lines of `undo`."""
    ended = shell.run("undo", plan, "--yes", *arguments)
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stderr.splitlines()


def snapshots(world: World) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.client.get("snapshots/detail", version="3.45").json()["snapshots"]
    return found


def names(world: World) -> set[str]:
    """Return the names of the snapshots on the backend."""
    return {each.name for each in world.driver.list_snapshots()}


def journal(plan: str) -> list[dict[str, Any]]:
    lines = Path(f"{plan}.journal").read_text().splitlines()
    return [json.loads(line) for line in lines if line]
