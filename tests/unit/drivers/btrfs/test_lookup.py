"""Lookups of single subvolumes, on items that tests on a real btrfs can't make."""

import struct
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from snapmanage.drivers.btrfs import lookup, trees
from snapmanage.drivers.btrfs.lookup import Lookup, Unclear, name_hash, read_entry
from tests.unit.drivers.btrfs.test_trees import root

Key = tuple[int, int, int]
DIRECTORY = 5, 256
IDENTITY = uuid.UUID(bytes=b"i" * 16)


class Trees:
    """The items of a file system by tree; the open folder is its top."""

    def __init__(self, items: dict[tuple[int, Key], bytes]) -> None:
        self.items = items

    def search(self, fd: int, tree: int, first: Key, last: Key) -> Iterator[tuple[Key, bytes]]:
        return ((key, item) for (of, key), item in sorted(self.items.items()) if of == tree and first <= key <= last)

    def directory_path(self, fd: int, tree: int, inode: int) -> tuple[int, bytes]:
        return tree or 5, b""


@pytest.fixture
def of_items(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(items: dict[tuple[int, Key], bytes]) -> None:
        made = Trees(items)
        for module in (lookup, trees):
            monkeypatch.setattr(module, "search", made.search)
            monkeypatch.setattr(module, "directory_path", made.directory_path)
        monkeypatch.setattr("os.fstat", lambda fd: type("Status", (), {"st_ino": 256}))

    return use


def entry(number: int, name: bytes, kind: int = 132, data: bytes = b"") -> bytes:
    """Return an entry of a directory in the form of `linux/btrfs_tree.h`."""
    return struct.pack("<QBQQHHB", number, kind, 2**64 - 1, 7, len(data), len(name), 2) + name + data


def place(name: bytes, directory: int = 256) -> bytes:
    return struct.pack("<QQH", directory, 1, len(name)) + name


def key_of(name: bytes) -> tuple[int, Key]:
    return 5, (256, 84, name_hash(name))


def uuid_key(identity: uuid.UUID) -> tuple[int, Key]:
    low, high = struct.unpack("<QQ", identity.bytes)
    return 9, (low, 251, high)


def test_hash_of_a_name_is_that_of_the_kernel() -> None:
    # Every btrfs has an entry `default` with this hash.
    assert name_hash(b"default") == 2378154706


def test_names_with_the_same_hash_are_distinguished(of_items: Any) -> None:
    item = entry(300, b"other", data=b"data") + entry(9, b"daily", kind=1) + entry(301, b"daily")
    items = {
        key_of(b"daily"): item,
        (1, (301, 132, 9)): root(),
        (1, (301, 144, 5)): place(b"daily"),
    }
    of_items(items)

    assert read_entry(-1, DIRECTORY, "daily") == (301, (9, root()), (5, 256, b"daily"))


@pytest.mark.parametrize(("backref", "offset"), [(place(b"other"), 5), (place(b"daily", 257), 5), (place(b"daily"), 6)])
def test_entry_of_a_subvolume_that_is_elsewhere_is_unclear(backref: bytes, offset: int, of_items: Any) -> None:
    of_items({key_of(b"daily"): entry(301, b"daily"), (1, (301, 132, 9)): root(), (1, (301, 144, offset)): backref})

    with pytest.raises(Unclear):
        read_entry(-1, DIRECTORY, "daily")


@pytest.mark.parametrize("length", [1, 29])
def test_entry_that_is_too_short_is_an_error_of_damaged_metadata(length: int, of_items: Any) -> None:
    of_items({key_of(b"daily"): entry(301, b"daily")[:length]})

    with pytest.raises(OSError, match="clean"):
        read_entry(-1, DIRECTORY, "daily")


@pytest.mark.parametrize("numbers", [[], [300, 301], [302], [303]])
def test_parent_that_the_tree_of_uuids_lacks_or_has_twice_is_unclear(numbers: list[int], of_items: Any) -> None:
    """302 has another identity, and 303 is being deleted: it has no place."""
    roots = {(1, (number, 132, 0)): root() for number in (300, 301, 303)} | {
        (1, (302, 132, 0)): root(identity=b"o" * 16)
    }
    places = {(1, (number, 144, 5)): place(b"volume-%d" % number) for number in (300, 301, 302)}
    of_items(roots | places | {uuid_key(IDENTITY): struct.pack(f"<{len(numbers)}Q", *numbers)})

    with pytest.raises(Unclear):
        Lookup(-1).identified(str(IDENTITY))


def test_parent_is_found_by_its_identity(of_items: Any) -> None:
    of_items(
        {
            (1, (300, 132, 0)): root(),
            (1, (300, 144, 5)): place(b"volume-1"),
            uuid_key(IDENTITY): struct.pack("<Q", 300),
        }
    )

    found = Lookup(-1).identified(str(IDENTITY))

    assert (found.number, found.path, found.identity) == (300, b"volume-1", str(IDENTITY))


@pytest.mark.parametrize(
    "name",
    [
        "../daily",
        ".",
        "./daily",
        "/daily",
        "a//b",
        "a\0b",
        "\ud800",
        "a/" * 257 + "b",
        "x" * 256,
        f"{'d' * 250}/" * 16 + "d" * 200,
    ],
)
def test_name_beyond_the_bounds_of_a_path_is_undecided(name: str, of_items: Any) -> None:
    of_items({})

    assert Lookup(-1).named([name]) == ({}, {name})
