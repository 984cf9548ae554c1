"""Items of a btrfs's trees that no file system of the tests has at will: of other kernels, or of a moment."""

import struct

import pytest

from snapmanage.drivers import btrfs_trees

ENABLED, INCONSISTENT, SIMPLE = 1, 4, 8
READ_ONLY = 1


def root(
    flags: int = 0, references: int = 1, generation: int = 7, again: int = 7, identity: bytes = b"i" * 16
) -> bytes:
    """A root item as `linux/btrfs_tree.h` lays it out."""
    begin = bytes(160) + struct.pack("<Q", generation) + bytes(40) + struct.pack("<QI", flags, references)
    uuids = struct.pack("<Q", again) + identity + b"p" * 16 + bytes(16)
    return begin + bytes(19) + uuids + bytes(32 + 12) + struct.pack("<QI", 100, 500_000_000) + bytes(12 * 2 + 64)


def test_root_item_is_read_by_the_kernels_layout() -> None:
    item = root(READ_ONLY)
    assert len(item) == 439

    found = btrfs_trees._subvolume(item, b"daily", 5)

    assert found is not None
    assert found.identity == "69696969-6969-6969-6969-696969696969"
    assert found.parent_identity == "70707070-7070-7070-7070-707070707070"
    assert (found.read_only, found.born, found.size_bytes) == (True, 100.5, 5)


@pytest.mark.parametrize("item", [root(references=0), root(again=6), root(identity=bytes(16))])
def test_deleted_subvolume_and_one_of_an_old_kernel_have_no_identity_to_go_by(item: bytes) -> None:
    assert btrfs_trees._subvolume(item, b"daily", None) is None


@pytest.mark.parametrize(
    ("flags", "sizes"),
    [(ENABLED, {256: 4096}), (ENABLED | INCONSISTENT, {256: 4096}), (ENABLED | SIMPLE, {}), (0, {})],
)
def test_only_quotas_that_count_what_is_referred_to_tell_sizes(
    flags: int, sizes: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [
        ((0, 240, 0), struct.pack("<QQQQ", 1, 7, flags, 0)),
        ((0, 242, 256), struct.pack("<QQQQQ", 7, 4096, 4096, 0, 0)),
    ]
    monkeypatch.setattr(btrfs_trees, "_search", lambda *_: iter(items))

    assert btrfs_trees._sizes(0) == sizes
