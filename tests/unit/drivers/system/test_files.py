"""Files of a foreign directory are opened only if they are regular."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from snapmanage.drivers.system import files


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "file").write_text("data")
    (tmp_path / "link").symlink_to("file")
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(("name", "flags"), [("file", files.PROBE_FLAGS), ("link", os.O_RDONLY | os.O_CLOEXEC)])
def test_regular_file_is_opened(folder: int, name: str, flags: int) -> None:
    opened = files.open_regular(folder, name, flags)

    assert opened is not None
    with os.fdopen(opened) as file:
        assert file.read() == "data"
        assert not os.get_inheritable(file.fileno())


def test_link_is_not_followed_without_a_flag_for_it(folder: int) -> None:
    assert files.open_regular(folder, "link") is None


@pytest.mark.parametrize(("name", "flags"), [("pipe", files.PROBE_FLAGS), ("to-pipe", os.O_RDONLY | os.O_NONBLOCK)])
def test_special_file_is_not_opened(folder: int, tmp_path: Path, name: str, flags: int) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    # A pipe that is opened for writing waits until another program opens it for reading.
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(""), daemon=True)
    writer.start()

    assert files.open_regular(folder, name, flags) is None

    writer.join(0.3)
    assert writer.is_alive()
    (tmp_path / "pipe").read_text()
    writer.join()
