"""A client that is killed again and again adopts each snapshot of a plain service once, and an undo restores each name.

`tests.chaos.adopting` has the proof with the additions of snapmanage.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.drivers.file import FileDriver
from tests.functional.adopting.plain import plain
from tests.functional.adopting.shell import Shell
from tests.functional.client import SERVER
from tests.functional.world import World, running_world

VOLUMES, SNAPSHOTS = 4, 50
# A client of a plain service waits ten seconds after each kill of `apply`.
KILLS_OF_APPLY, KILLS_OF_UNDO = 2, 8
SEED = 14


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for volume in range(VOLUMES):
        (folder / f"disk{volume}.img").write_bytes(b"data")
        for snapshot in range(SNAPSHOTS):
            (folder / f"disk{volume}.img@s{snapshot:02}").write_bytes(b"data")
    return folder


@pytest.fixture
def world(tmp_path: Path, images: Path) -> Iterator[World]:
    with running_world(tmp_path, {SERVER: FileDriver(str(images))}, around=plain) as made:
        yield made


def inodes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def run_and_kill(shell: Shell, kills: int, *arguments: str) -> int:
    """Run a command, and kill it up to `kills` times at random moments; return the exit code of the last run."""
    chance = random.Random(SEED)
    for _ in range(kills):
        process = shell.daemon(*arguments)
        process.launch()
        time.sleep(chance.uniform(0.3, 1.5))  # the moment of the kill, not a wait
        if not process.alive:
            return process.await_exit()
        process.kill()
    return shell.run(*arguments).returncode


def test_killed_client_does_nothing_twice_and_undo_restores_every_name(
    shell: Shell, world: World, images: Path
) -> None:
    before = inodes(images)
    plan = str(shell.folder / "plan.jsonl")
    assert shell.run("plan", "--host", SERVER, "--out", plan).returncode == 0
    events = world.record_events()

    assert run_and_kill(shell, KILLS_OF_APPLY, "apply", plan, "--yes") == 0

    managed = inodes(images)
    assert sum(name.partition("@")[2].startswith("snapshot-") for name in managed) == VOLUMES * SNAPSHOTS
    assert sorted(managed.values()) == sorted(before.values())
    assert events.count("snapshot.manage.start") == VOLUMES * SNAPSHOTS
    assert "snapshot.manage.error" not in events

    assert run_and_kill(shell, KILLS_OF_UNDO, "undo", plan, "--yes") == 0

    assert inodes(images) == before
    assert events.count("snapshot.unmanage.start") == VOLUMES * SNAPSHOTS
