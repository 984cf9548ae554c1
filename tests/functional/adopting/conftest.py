"""The commands of the client against a world."""

from pathlib import Path

import pytest

from tests.functional.adopting.plans import make_plan
from tests.functional.adopting.shell import Shell
from tests.functional.world import World


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Shell:
    folder = tmp_path / "client"
    folder.mkdir()
    return Shell(world.client, folder)


@pytest.fixture
def plan(shell: Shell) -> str:
    """Plan to manage the three snapshots of the world."""
    return make_plan(shell)
