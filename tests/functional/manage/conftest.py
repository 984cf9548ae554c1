"""A folder of images, for the tests in which several servers share one storage."""

from pathlib import Path

import pytest

DISK, DAILY, WEEKLY = "disk1.img", "disk1.img@daily", "disk1.img@weekly"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "images"
    made.mkdir()
    for name in (DISK, DAILY, WEEKLY):
        (made / name).write_bytes(b"data")
    return made
