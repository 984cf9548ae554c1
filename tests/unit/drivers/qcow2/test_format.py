"""What a qcow2 file says is read, and nothing that it says is trusted."""

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
def test_size_backing_file_and_format_are_read(version: int) -> None:
    header = read(replace(OVERLAY, version=version, size=5 * 1024**3))

    assert header == Header(5 * 1024**3, "base.img", "raw")


def test_image_on_its_own_has_no_backing_file() -> None:
    assert read(Qcow2()) == Header(1024**2)


def test_backing_format_that_is_not_recorded_is_none() -> None:
    assert read(replace(OVERLAY, backing_format=None)).backing_format is None


def test_other_extensions_are_passed_over() -> None:
    header = read(replace(OVERLAY, extensions=extension(0x6803F857, b"names") + extension(0x23852875, bytes(24))))

    assert (header.backing, header.backing_format) == ("base.img", "raw")


def test_name_of_a_backing_file_is_told_byte_by_byte_up_to_a_nul() -> None:
    assert os.fsencode(read(replace(OVERLAY, backing=b"\xff\xfe\0x")).backing or "") == b"\xff\xfe"


def test_name_of_a_backing_file_is_read_wherever_the_first_cluster_has_it() -> None:
    image = replace(OVERLAY, backing=b"", backing_offset=60_000, backing_bytes=8).packed()

    assert read(image[:60_000] + b"base.img" + image[60_008:]).backing == "base.img"


def test_file_of_the_data_is_read() -> None:
    assert read(Qcow2(features=1 << 2, extensions=extension(0x44415441, b"data.raw"))).data_file_name == "data.raw"


def test_internal_snapshots_are_read() -> None:
    entries = [Entry(), Entry(b"2", b"daily", disk_bytes=512), Entry(b"x/y", "Übung".encode(), 5, 6)]

    first, second, third = read(Qcow2(entries=entries)).internal_snapshots

    assert (first.id, first.name, first.size_bytes) == ("1", "daily", 1024**2)
    assert first.created_at == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert (second.id, second.name, second.size_bytes) == ("2", "daily", 512)
    assert (third.id, third.name) == ("x/y", "Übung")


def test_mark_tells_a_snapshot_from_a_later_one_with_its_id() -> None:
    marks = [read(Qcow2(entries=[Entry(nanoseconds=number)])).internal_snapshots[0].mark for number in (1, 2)]

    assert marks == ["1@1700000000.000000001", "1@1700000000.000000002"]


def test_name_that_is_no_text_is_shown_as_far_as_it_can_be() -> None:
    assert read(Qcow2(entries=[Entry(name=b"a\xffb")])).internal_snapshots[0].name == "a\ufffdb"


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Qcow2(features=1 << 1), "corrupt"),
        (Qcow2(features=1 << 2), "another file"),
        (Qcow2(features=1 << 40), "not known"),
    ],
)
def test_image_whose_data_are_not_what_they_seem_is_unusable(image: Qcow2, said: str) -> None:
    header = read(image)

    assert said in header.unusable_reason
    assert header.unwritable_reason == header.unusable_reason


@pytest.mark.parametrize(
    ("image", "said"), [(Qcow2(features=1 << 0), "not closed cleanly"), (Qcow2(encryption=2), "encrypted")]
)
def test_image_that_qemu_img_could_not_open_for_writing_is_unwritable(image: Qcow2, said: str) -> None:
    header = read(image)

    assert said in header.unwritable_reason
    assert header.unusable_reason == ""


@pytest.mark.parametrize("data", [b"", b"QF", b"raw data", bytes(8192)])
def test_file_that_does_not_claim_to_be_qcow2_is_not(data: bytes) -> None:
    with pytest.raises(NotQcow2):
        read(data)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"QFI\xfb", "within its header"),
        (Qcow2().packed()[:90], "within its header"),
        (Qcow2(version=1), "version 1"),
        (Qcow2(version=4), "version 4"),
        (Qcow2(header_bytes=8), "a header of 8 bytes"),
        (Qcow2(header_bytes=2**32 - 1), "a header of"),
        (Qcow2(cluster_bits=8), "clusters"),
        (Qcow2(cluster_bits=64), "clusters"),
        (Qcow2(size=2**63), "more than can be"),
        (replace(OVERLAY, backing_offset=2**63), "isn't where it should be"),
        (replace(OVERLAY, backing_offset=65_530), "isn't where it should be"),
        (replace(OVERLAY, cluster_bits=9, backing_offset=510), "isn't where it should be"),
        (replace(OVERLAY, backing=b"x" * 1024), "isn't where it should be"),
        (replace(OVERLAY, backing_bytes=2**32 - 1), "isn't where it should be"),
        (Qcow2(extensions=extension(BACKING_FORMAT, b"raw", 2**32 - 1)), "extensions"),
    ],
)
def test_header_that_lies_is_unreadable_with_a_reason(image: Qcow2 | bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read(image)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Qcow2(count=2**32 - 1), "4294967295 snapshots"),
        (Qcow2(count=10_001), "10001 snapshots"),
        (Qcow2(count=3, entries=[Entry()]), "past its end"),
        (Qcow2(count=1, table_offset=2**63), "beyond the end"),
        (Qcow2(count=1, table_offset=2**40), "past its end"),
        (Qcow2(entries=[Entry(extra_bytes=2**32 - 1)]), "impossible"),
        (Qcow2(entries=[Entry(id_bytes=2**16 - 1)]), "impossible"),
        (Qcow2(entries=[Entry(nanoseconds=10**9)]), "impossible"),
        (Qcow2(entries=[Entry(disk_bytes=2**64 - 1)]), "more than can be"),
        (Qcow2(entries=[Entry(id=b"")]), "an id that can't be written"),
        (Qcow2(entries=[Entry(id=b"\xff")]), "an id that can't be written"),
        (Qcow2(entries=[Entry(id=b"1\n")]), "an id that can't be written"),
        (Qcow2(entries=[Entry(id=b"1" * 128)]), "an id that can't be written"),
        (Qcow2(entries=[Entry(), Entry()]), "one id"),
    ],
)
def test_snapshot_table_that_lies_is_left_out_with_a_reason_and_the_image_stays(image: Qcow2, said: str) -> None:
    header = read(image)

    assert header.internal_snapshots == ()
    assert said in header.internal_error
    assert header.size_bytes == 1024**2


def test_as_many_snapshots_are_read_as_are_allowed() -> None:
    entries = [Entry(b"%d" % number) for number in range(MAX_SNAPSHOTS)]

    assert len(read(Qcow2(entries=entries)).internal_snapshots) == len(entries)


def test_nothing_is_read_beyond_the_bounds_whatever_the_file_claims() -> None:
    data = Qcow2(count=10_000, table_offset=2**40).packed()
    asked = []

    def source(size: int, offset: int) -> bytes:
        asked.append(size)
        return data[offset : offset + size]

    read_header(source)

    assert max(asked) <= MAX_TABLE_BYTES


SOUND = Qcow2(backing=b"base.img", backing_format=b"raw", entries=[Entry(), Entry(b"2", disk_bytes=512)]).packed()
PLACES = [*range(1 << 16, len(SOUND)), *range(160)]


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.integers(0, 255)), max_size=8), st.integers(0, len(SOUND)))
def test_any_damage_ends_in_a_header_or_in_what_says_that_there_is_none(
    damage: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(SOUND)
    for place, byte in damage:
        data[place] = byte
    for whole in (bytes(data), bytes(data[:length])):
        with suppress(Unreadable):
            assert all(entry.created_at for entry in read(whole).internal_snapshots)
