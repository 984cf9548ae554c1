"""Items in the trees of a btrfs, as a damaged or hostile file system has them."""

import errno
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from snapmanage.drivers.btrfs import lookup, search, snapper, trees
from snapmanage.drivers.btrfs import paths as subvolume_paths
from tests.fuzz.hostile import NUMBERS, bounded, damaged, fuzz
from tests.unit.drivers.btrfs.test_snapper import FILES
from tests.unit.drivers.btrfs.test_trees import root

Item = tuple[int, tuple[int, int, int], bytes]

BACKREF = struct.pack("<QQH", 256, 1, 5) + b"daily"
REFERENCE = struct.pack("<QH", 1, 3) + b"dir"
ENTRY = struct.pack("<QBQQHHB", 256, 132, 2**64 - 1, 7, 0, 5, 2) + b"daily"
LOW, HIGH = struct.unpack("<QQ", b"p" * 16)
SUBVOLUMES = (5, 256, 257, 300)
NUMBER = st.sampled_from((*SUBVOLUMES, *NUMBERS))
ITEMS = st.one_of(
    st.tuples(st.just(1), st.tuples(NUMBER, st.just(132), NUMBER), damaged(root())),
    st.tuples(st.just(1), st.tuples(NUMBER, st.just(144), NUMBER), damaged(BACKREF)),
    st.tuples(st.just(1), st.tuples(st.just(2**64 - 5), st.just(48), NUMBER), st.binary(max_size=8)),
    st.tuples(NUMBER, st.tuples(NUMBER, st.just(12), NUMBER), damaged(REFERENCE)),
    st.tuples(NUMBER, st.tuples(NUMBER, st.just(84), st.just(lookup.name_hash(b"daily"))), damaged(ENTRY)),
    st.tuples(st.just(9), st.tuples(st.just(LOW), st.just(251), st.just(HIGH)), damaged(struct.pack("<Q", 256))),
    st.tuples(st.just(8), st.tuples(st.just(0), st.sampled_from((240, 242)), NUMBER), damaged(bytes(40))),
)
PATHS = st.dictionaries(NUMBER, st.sampled_from((b"a", b"a/b", b"\xff\n", errno.ENOENT, errno.ENAMETOOLONG, errno.EIO)))


class Kernel:
    """A kernel's answers to the calls of `btrfs.search`: items of trees, and paths of directories by their inodes."""

    def __init__(self, items: Sequence[Item], paths: dict[int, Any]) -> None:
        self._items = sorted(items, key=lambda item: item[:2])
        self._paths = paths

    def search(self, fd: int, tree: int, first: Any, last: Any) -> Iterator[tuple[Any, bytes]]:
        return ((key, item) for of, key, item in self._items if of == tree and first <= key <= last)

    def directory_path(self, fd: int, tree: int, inode: int) -> tuple[int, bytes]:
        found = self._paths.get(inode, errno.ENOENT if tree else b"")
        if isinstance(found, int):
            raise OSError(found, os.strerror(found))
        return tree or 5, found


@fuzz(items=st.lists(ITEMS, max_size=8), paths=PATHS)
def test_trees_of_any_items_are_read_or_refused(items: list[Item], paths: dict[int, Any]) -> None:
    kernel = Kernel(items, paths)
    folder = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        with pytest.MonkeyPatch.context() as patch, bounded((items, paths), OSError):
            patch.setattr(trees, "search", kernel.search)
            patch.setattr(subvolume_paths, "search", kernel.search)
            patch.setattr(search, "search", kernel.search)
            patch.setattr(trees, "directory_path", kernel.directory_path)
            patch.setattr("time.sleep", lambda seconds: None)
            _, found = trees.read(folder)
            assert len({each.number for each in found}) == len(found)
    finally:
        os.close(folder)


@fuzz(items=st.lists(ITEMS, max_size=8), paths=PATHS)
def test_lookup_in_any_items_finds_a_subvolume_or_is_refused(items: list[Item], paths: dict[int, Any]) -> None:
    kernel = Kernel(items, paths)
    folder = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        with pytest.MonkeyPatch.context() as patch, bounded((items, paths), OSError, lookup.Unclear):
            for module in (trees, subvolume_paths, search, lookup):
                patch.setattr(module, "search", kernel.search)
            patch.setattr(lookup, "directory_path", kernel.directory_path)
            patch.setattr("time.sleep", lambda seconds: None)
            made = lookup.Lookup(folder)
            found, _ = made.named(["daily"]) if made.here is not None else ({}, set())
            for each in found.values():
                if each.parent_identity:
                    assert made.identified(each.parent_identity).identity == each.parent_identity
    finally:
        os.close(folder)


@fuzz(damaged((FILES / "single.xml").read_bytes()))
def test_notes_of_any_content_are_read(content: bytes) -> None:
    with bounded(content):
        assert len(snapper.parsed(content).description) <= snapper.LONGEST_DESCRIPTION


@fuzz(damaged(root()), st.none() | st.binary(max_size=8), NUMBER)
def test_root_item_of_any_bytes_is_read(item: bytes, path: bytes | None, offset: int) -> None:
    with bounded((item, path, offset)):
        trees.subvolume(300, offset, item.ljust(439, b"\0"), path, None, None)
