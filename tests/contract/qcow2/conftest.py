"""Directories of images for one test each."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.testing.needs import require
from tests.contract.qcow2.chain import Chain
from tests.contract.qcow2.image_directory import SIZE, ImageDirectory
from tests.services.storage import qemu


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    require(*qemu.PROGRAMS)
    return Chain.make(tmp_path_factory.mktemp("model") / "images")


@pytest.fixture
def chain(model: Chain, tmp_path: Path) -> Chain:
    return model.copy_to(tmp_path / "images")


@pytest.fixture
def images(tmp_path: Path) -> ImageDirectory:
    require(*qemu.PROGRAMS)
    return ImageDirectory(tmp_path)


@pytest.fixture
def shared_images() -> Iterator[ImageDirectory]:
    """Return a directory that other users than root may enter."""
    require(*qemu.PROGRAMS, root=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield ImageDirectory(Path(folder))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    require(*qemu.PROGRAMS)
    images = tmp_path / "images"
    images.mkdir()
    qemu.create(images / "disk.qcow2", SIZE)
    return images


@pytest.fixture
def driver(folder: Path) -> Qcow2Driver:
    return Qcow2Driver(str(folder))
