"""A folder for `snapmanage standalone`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.cmd.programs import SNAPSHOTS, VOLUME, Standalone


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Standalone]:
    """Return a folder with a volume and its snapshots, which no process serves yet."""
    made = Standalone(tmp_path / "data")
    made.folder.mkdir(mode=0o700)
    made.backend.mkdir()
    for name in (VOLUME, *(f"{VOLUME}@{snapshot}" for snapshot in SNAPSHOTS)):
        (made.backend / name).write_text(name)
    yield made
    made.close()
