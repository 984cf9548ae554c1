"""A folder of images that several servers share."""

from pathlib import Path

import pytest

from tests.functional.manage import images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a volume and two snapshots."""
    made = tmp_path / "images"
    made.mkdir()
    for name in (images.DISK, images.DAILY, images.WEEKLY):
        (made / name).write_bytes(b"data")
    return made
