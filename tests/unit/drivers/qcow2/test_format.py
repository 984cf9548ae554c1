"""Reading the beginning of a qcow2 file, and refusing false values in it."""

import os
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage.drivers.qcow2.format import (
    MAX_SNAPSHOTS,
    MAX_TABLE_BYTES,
    Header,
    NotQcow2,
    Unreadable,
    read_header,
)
from tests.unit.drivers.qcow2.images import BACKING_FORMAT, Entry, Qcow2, extension

OVERLAY = Qcow2(backing=b"base.img", backing_format=b"raw")


def read(image: Qcow2 | bytes) -> Header:
    data = image if isinstance(image, bytes) else image.packed()
    return read_header(lambda size, offset: data[offset : offset + size])


@pytest.mark.parametrize("version", [2, 3])
def test_size_backing_file_name_and_format_are_read(version: int) -> None:
    header = read(replace(OVERLAY, version=version, size=5 * 1024**3))

    assert header == Header(5 * 1024**3, "base.img", "raw")


def test_image_without_a_backing_file_has_no_backing_file_name() -> None:
    assert read(Qcow2()) == Header(1024**2)


def test_backing_format_that_is_not_recorded_is_none() -> None:
    assert read(replace(OVERLAY, backing_format=None)).backing_format is None


def test_other_extensions_are_skipped() -> None:
    header = read(replace(OVERLAY, extensions=extension(0x6803F857, b"names") + extension(0x23852875, bytes(24))))

    assert (header.backing_file_name, header.backing_format) == ("base.img", "raw")


def test_backing_file_name_keeps_its_bytes_and_ends_at_the_first_nul() -> None:
    assert os.fsencode(read(replace(OVERLAY, backing=b"\xff\xfe\0x")).backing_file_name or "") == b"\xff\xfe"


def test_backing_file_name_is_read_anywhere_in_the_first_cluster() -> None:
    image = replace(OVERLAY, backing=b"", backing_offset=60_000, backing_bytes=8).packed()

    assert read(image[:60_000] + b"base.img" + image[60_008:]).backing_file_name == "base.img"


def test_data_file_name_is_read() -> None:
    assert read(Qcow2(features=1 << 2, extensions=extension(0x44415441, b"data.raw"))).data_file_name == "data.raw"


def test_internal_snapshots_are_read() -> None:
    entries = [Entry(), Entry(b"2", b"daily", disk_bytes=512), Entry(b"x/y", "Übung".encode(), 5, 6)]

    first, second, third = read(Qcow2(entries=entries)).internal_snapshots

    assert (first.id, first.name, first.size_bytes) == ("1", "daily", 1024**2)
    assert first.created_at == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert (second.id, second.name, second.size_bytes) == ("2", "daily", 512)
    assert (third.id, third.name) == ("x/y", "Übung")


def test_snapshots_with_the_same_id_and_different_creation_times_have_different_marks() -> None:
    marks = [read(Qcow2(entries=[Entry(nanoseconds=number)])).internal_snapshots[0].mark for number in (1, 2)]

    assert marks == ["1@1700000000.000000001", "1@1700000000.000000002"]


def test_bytes_of_a_name_that_are_not_utf_8_are_replaced() -> None:
    assert read(Qcow2(entries=[Entry(name=b"a\xffb")])).internal_snapshots[0].name == "a\ufffdb"


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Qcow2(features=1 << 1), "corrupt"),
        (Qcow2(features=1 << 2), "another file"),
        (Qcow2(features=1 << 40), "not supported"),
    ],
)
def test_image_with_unreliable_data_is_unusable(image: Qcow2, reason: str) -> None:
    header = read(image)

    assert reason in header.unusable_reason
    assert header.unwritable_reason == header.unusable_reason


@pytest.mark.parametrize(
    ("image", "reason"), [(Qcow2(features=1 << 0), "not closed cleanly"), (Qcow2(encryption=2), "encrypted")]
)
def test_image_that_qemu_img_cannot_open_for_writing_is_unwritable(image: Qcow2, reason: str) -> None:
    header = read(image)

    assert reason in header.unwritable_reason
    assert header.unusable_reason == ""


@pytest.mark.parametrize("data", [b"", b"QF", b"raw data", bytes(8192)])
def test_file_without_the_magic_number_is_not_qcow2(data: bytes) -> None:
    with pytest.raises(NotQcow2):
        read(data)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"QFI\xfb", "within its header"),
        (Qcow2().packed()[:90], "within its header"),
        (Qcow2(version=1), "version 1"),
        (Qcow2(version=4), "version 4"),
        (Qcow2(header_bytes=8), "a header length of 8 bytes"),
        (Qcow2(header_bytes=2**32 - 1), "a header length of"),
        (Qcow2(cluster_bits=8), "clusters"),
        (Qcow2(cluster_bits=64), "clusters"),
        (Qcow2(size=2**63), "which is impossible"),
        (replace(OVERLAY, backing_offset=2**63), "not in the first cluster"),
        (replace(OVERLAY, backing_offset=65_530), "not in the first cluster"),
        (replace(OVERLAY, cluster_bits=9, backing_offset=510), "not in the first cluster"),
        (replace(OVERLAY, backing=b"x" * 1024), "not in the first cluster"),
        (replace(OVERLAY, backing_bytes=2**32 - 1), "not in the first cluster"),
        (Qcow2(extensions=extension(BACKING_FORMAT, b"raw", 2**32 - 1)), "extensions"),
    ],
)
def test_false_header_is_unreadable_with_a_reason(image: Qcow2 | bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read(image)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (Qcow2(count=2**32 - 1), "4294967295 snapshots"),
        (Qcow2(count=10_001), "10001 snapshots"),
        (Qcow2(count=3, entries=[Entry()]), "cut off"),
        (Qcow2(count=1, table_offset=2**63), "beyond the end"),
        (Qcow2(count=1, table_offset=2**40), "cut off"),
        (Qcow2(entries=[Entry(extra_bytes=2**32 - 1)]), "an impossible entry"),
        (Qcow2(entries=[Entry(id_bytes=2**16 - 1)]), "an impossible entry"),
        (Qcow2(entries=[Entry(nanoseconds=10**9)]), "an impossible entry"),
        (Qcow2(entries=[Entry(disk_bytes=2**64 - 1)]), "which is impossible"),
        (Qcow2(entries=[Entry(id=b"")]), "ID of one"),
        (Qcow2(entries=[Entry(id=b"\xff")]), "ID of one"),
        (Qcow2(entries=[Entry(id=b"1\n")]), "ID of one"),
        (Qcow2(entries=[Entry(id=b"1" * 128)]), "ID of one"),
        (Qcow2(entries=[Entry(), Entry()]), "the same ID"),
    ],
)
def test_false_snapshot_table_is_skipped_with_a_reason_and_the_image_stays_readable(image: Qcow2, reason: str) -> None:
    header = read(image)

    assert header.internal_snapshots == ()
    assert reason in header.internal_error
    assert header.size_bytes == 1024**2


def test_the_maximum_number_of_snapshots_is_read() -> None:
    entries = [Entry(b"%d" % number) for number in range(MAX_SNAPSHOTS)]

    assert len(read(Qcow2(entries=entries)).internal_snapshots) == len(entries)


def test_no_read_exceeds_the_bounds() -> None:
    data = Qcow2(count=10_000, table_offset=2**40).packed()
    sizes = []

    def source(size: int, offset: int) -> bytes:
        sizes.append(size)
        return data[offset : offset + size]

    read_header(source)

    assert max(sizes) <= MAX_TABLE_BYTES


VALID = Qcow2(backing=b"base.img", backing_format=b"raw", entries=[Entry(), Entry(b"2", disk_bytes=512)]).packed()
POSITIONS = [*range(1 << 16, len(VALID)), *range(160)]


@given(st.lists(st.tuples(st.sampled_from(POSITIONS), st.integers(0, 255)), max_size=8), st.integers(0, len(VALID)))
def test_any_damage_ends_in_a_header_or_in_unreadable(damage: list[tuple[int, int]], length: int) -> None:
    data = bytearray(VALID)
    for position, byte in damage:
        data[position] = byte
    for whole in (bytes(data), bytes(data[:length])):
        with suppress(Unreadable):
            assert all(entry.created_at for entry in read(whole).internal_snapshots)
