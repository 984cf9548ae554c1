"""Items of btrfs trees that tests on a real btrfs can't make: items of other kernels, and items that exist briefly."""

import struct

import pytest

from snapmanage.drivers.btrfs import quotas, search, trees
from snapmanage.drivers.btrfs.quotas import Count, Counting

ENABLED, RESCAN, INCONSISTENT, SIMPLE = 1, 2, 4, 8
READ_ONLY = 1


def root(
    flags: int = 0, references: int = 1, generation: int = 7, again: int = 7, identity: bytes = b"i" * 16
) -> bytes:
    """Return a root item in the form of `linux/btrfs_tree.h`."""
    begin = bytes(160) + struct.pack("<Q", generation) + bytes(40) + struct.pack("<QI", flags, references)
    uuids = struct.pack("<Q", again) + identity + b"p" * 16 + bytes(16)
    return begin + bytes(19) + uuids + bytes(32 + 12) + struct.pack("<QI", 100, 500_000_000) + bytes(12 * 2 + 64)


def test_root_item_is_read_in_the_kernels_form() -> None:
    item = root(READ_ONLY)
    assert len(item) == 439

    found = trees.subvolume(300, 9, item, b"daily", (256, 256, b"daily"), Count(5))

    assert found is not None
    assert found.identity == "69696969-6969-6969-6969-696969696969"
    assert found.parent_identity == "70707070-7070-7070-7070-707070707070"
    assert (found.is_snapshot, found.read_only, found.born, found.within) == (True, True, 100.5, 256)


def test_subvolume_that_is_being_deleted_is_left_out() -> None:
    assert trees.subvolume(300, 9, root(references=0), b"daily", None, None) is None


@pytest.mark.parametrize("item", [root(again=6), root(identity=bytes(16)), root(again=6)[:239].ljust(439, b"\0")])
def test_snapshot_that_an_old_kernel_made_has_no_identity(item: bytes) -> None:
    found = trees.subvolume(300, 9, item, b"daily", None, None)

    assert found is not None
    assert (found.identity, found.is_snapshot) == ("", True)


def test_snapshot_of_a_subvolume_without_identity_is_recognized_by_its_key() -> None:
    item = root().replace(b"p" * 16, bytes(16))

    for offset, is_snapshot in ((9, True), (0, False)):
        found = trees.subvolume(300, offset, item, b"daily", None, None)
        assert found is not None
        assert (found.is_snapshot, found.parent_identity) == (is_snapshot, None)


@pytest.mark.parametrize(
    ("flags", "referenced", "counts"),
    [
        (ENABLED, 4096, {256: Count(4096)}),
        (ENABLED | INCONSISTENT, 4096, {256: Count(4096, Counting.INCONSISTENT)}),
        (ENABLED | INCONSISTENT, 0, {256: Count(None, Counting.UNDER_WAY)}),
        (ENABLED, 0, {256: Count(None, Counting.UNDER_WAY)}),
        (ENABLED | INCONSISTENT | RESCAN, 4096, {256: Count(None, Counting.UNDER_WAY)}),
        (ENABLED | RESCAN, 4096, {256: Count(None, Counting.UNDER_WAY)}),
        (ENABLED | SIMPLE, 4096, {}),
        (0, 4096, {}),
    ],
)
def test_size_is_known_only_from_completed_counts_of_referenced_data(
    flags: int, referenced: int, counts: dict[int, Count], monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [
        ((0, 240, 0), struct.pack("<QQQQ", 1, 7, flags, 0)),
        ((0, 242, 256), struct.pack("<QQQQQ", 7, referenced, 4096, 0, 0)),
    ]
    monkeypatch.setattr(
        search, "search", lambda fd, tree, first, last: (each for each in items if first <= each[0] <= last)
    )

    assert quotas.counts(0) == counts
    assert {number: count for number in (256, 257) if (count := quotas.count(0, number))} == counts


@pytest.mark.parametrize("length", [0, 17])
def test_item_that_is_too_short_is_an_error_of_damaged_metadata(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    items = {1: [((257, 144, 5), bytes(length))]}
    monkeypatch.setattr(trees, "search", lambda fd, tree, first, last: iter(items.get(tree, [])))

    with pytest.raises(OSError, match="clean"):
        trees.read(-1)
