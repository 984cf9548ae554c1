"""The commands of the client against a world."""

from pathlib import Path

import pytest

from tests.functional.adopting.shell import Shell
from tests.functional.world import World


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Shell:
    folder = tmp_path / "client"
    folder.mkdir()
    return Shell(world.client, folder)
