"""The commands of the client against a world."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from snapmanage.core.origins.patterns import Origins
from tests.functional.adopting.plain import plain
from tests.functional.adopting.plans import make_plan
from tests.functional.adopting.shell import Shell
from tests.functional.world import RULES, World, running_world


@pytest.fixture
def shell(world: World, tmp_path: Path) -> Shell:
    folder = tmp_path / "client"
    folder.mkdir()
    return Shell(world.client, folder)


@pytest.fixture
def plan(shell: Shell) -> str:
    """Plan to manage the three snapshots of the world."""
    return make_plan(shell)


@pytest.fixture
def plain_world(tmp_path: Path) -> Iterator[World]:
    """Run a world whose service has none of snapmanage's additions."""
    with running_world(tmp_path, rules=replace(RULES, origins=Origins()), around=plain) as made:
        yield made


@pytest.fixture
def plain_shell(plain_world: World, tmp_path: Path) -> Shell:
    folder = tmp_path / "client"
    folder.mkdir()
    return Shell(plain_world.client, folder)
