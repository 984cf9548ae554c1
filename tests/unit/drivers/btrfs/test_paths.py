"""Paths of subvolumes that any local user can nest, beside those that a service manages."""

import struct
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from snapmanage.drivers.btrfs import paths
from snapmanage.drivers.btrfs.paths import MAX_FOLDERS, MAX_PATH_BYTES, TOO_LONG, Paths, Place

LONGEST_NAME = b"n" * 255


class Folders:
    """A tree in which each folder of a number lies in the folder of the number before it."""

    def __init__(self) -> None:
        self.searches = 0

    def search(self, fd: int, tree: int, first: Any, last: Any) -> Iterator[tuple[Any, bytes]]:
        self.searches += 1
        yield (first[0], 12, first[0] - 1), struct.pack("<QH", 1, 1) + b"d"


@pytest.fixture
def folders(monkeypatch: pytest.MonkeyPatch) -> Folders:
    made = Folders()
    monkeypatch.setattr(paths, "search", made.search)
    return made


def test_nested_subvolumes_take_memory_for_bounded_paths_only() -> None:
    nested: dict[int, Place] = {256: (5, 256, LONGEST_NAME)}
    nested |= {number: (number - 1, 256, LONGEST_NAME) for number in range(257, 3256)}
    found = Paths(-1, nested, MAX_PATH_BYTES)

    tracemalloc.start()
    try:
        last = found.of(3255)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert last == TOO_LONG
    assert found.of(256 + 15) == b"/".join([LONGEST_NAME] * 16)
    assert found.of(256 + 16) == TOO_LONG
    assert most_bytes < 2 * 1024**2


def test_each_folder_is_read_once(folders: Folders) -> None:
    deepest = 256 + MAX_FOLDERS
    found = Paths(-1, {number: (5, deepest - number % 2, b"s") for number in range(300, 400)}, MAX_PATH_BYTES)

    assert {found.of(number) for number in range(300, 400)} == {b"d/" * MAX_FOLDERS + b"s", b"d/" * 255 + b"s"}
    assert folders.searches == MAX_FOLDERS


def test_deep_folder_is_read_up_to_the_bound_only(folders: Folders) -> None:
    assert Paths(-1, {300: (5, 100_000, b"s")}, MAX_PATH_BYTES).of(300) == TOO_LONG
    assert folders.searches == MAX_FOLDERS + 1


def test_folders_that_were_removed_meanwhile_are_awaited_together(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    monkeypatch.setattr(paths, "search", lambda *_: iter(()))
    found = Paths(-1, {number: (5, number, b"s") for number in range(300, 400)}, MAX_PATH_BYTES)

    assert {found.of(number) for number in range(300, 400)} == {None}
    assert len(pauses) == paths.TRIES
