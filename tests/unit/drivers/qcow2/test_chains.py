"""Which images are volumes and which are snapshots, and what makes a chain unfit to be touched."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from snapmanage.core.backend import BackendSnapshot, Unsafe
from snapmanage.drivers.qcow2.chains import Chains
from snapmanage.drivers.qcow2.format import Header, InternalSnapshot
from snapmanage.drivers.qcow2.image import Image

DIRECTORY_PATHS = {"/srv/images", "/mnt/nfs/images"}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def image(name: str, backing: str | None = None, kind: str | None = "qcow2", **header: Any) -> Image:
    found = Header(1024**2, backing, kind if backing else None, **header)
    return Image((name,), f"identity-of-{name}", 4096, NOON, header=found)


def raw(name: str) -> Image:
    return replace(image(name), header=None)


def chains(*images: Image) -> Chains:
    return Chains(images, DIRECTORY_PATHS)


def snapshot(found: Chains, name: str) -> BackendSnapshot:
    [one] = [snapshot for snapshot in found.snapshots() if snapshot.name == name]
    return one


def test_image_on_top_is_the_volume_and_each_below_is_a_snapshot_of_it() -> None:
    found = chains(image("top", "middle"), image("middle", "base", "raw"), raw("base"), image("another"))

    assert {(each.name, each.parent, each.parent_identity) for each in found.snapshots()} == {
        ("middle", "top", "identity-of-top"),
        ("base", "top", "identity-of-top"),
    }


def test_snapshot_has_its_virtual_size_and_a_raw_one_that_of_its_file() -> None:
    found = chains(image("top", "middle"), image("middle", "base", "raw"), raw("base"))

    assert (snapshot(found, "middle").size_bytes, snapshot(found, "base").size_bytes) == (1024**2, 4096)


def test_snapshot_below_several_volumes_has_no_parent_and_names_its_overlays() -> None:
    found = chains(image("b", "base"), image("a", "base"), image("c", "a"), image("base", "bottom"), image("bottom"))

    assert snapshot(found, "base").parent is None
    assert snapshot(found, "bottom").parent is None
    assert snapshot(found, "a").parent == "c"
    assert snapshot(found, "base").extra == {"kind": "external", "format": "qcow2", "overlays": "a, b"}


def test_snapshot_below_two_branches_of_one_volume_is_still_that_volumes() -> None:
    """Two names of one file are one volume."""
    top = image("top", "base")

    found = chains(top, replace(top, names=("top-too",)), image("base"))

    assert snapshot(found, "base").parent == "top"
    assert snapshot(found, "base").extra["overlays"] == "top"


def test_internal_snapshots_belong_to_the_volume_on_top() -> None:
    inside = InternalSnapshot("1", "daily", 1_700_000_000, 5, 512)
    base = image("base")
    assert base.header
    found = chains(image("top", "base"), replace(base, header=replace(base.header, internal_snapshots=(inside,))))

    internal = snapshot(found, "base/1")

    assert (internal.parent, internal.size_bytes) == ("top", 512)
    assert internal.identity == "identity-of-base/1@1700000000.000000005"
    assert internal.extra == {"kind": "internal", "internal_name": "daily"}


@pytest.mark.parametrize(
    "recorded", ["base", "./base", "/srv/images/base", "/mnt/nfs/images/base", "./base:1", "/srv/images/base:1"]
)
def test_plain_name_in_the_directory_is_followed_however_it_is_written(recorded: str) -> None:
    name = recorded.rpartition("/")[2]

    found = chains(image("top", recorded), image(name))

    assert snapshot(found, name).unsafe is None


@pytest.mark.parametrize(
    "recorded",
    [
        *(
            "/etc/passwd",
            "../base",
            "./../images/base",
            "sub/base",
            "/base",
            "//srv/images/base",
            "/srv/images/../base",
        ),
        *("/srv/images/", "/srv/images", ".", "..", ".hidden", "a\0b"),
        *("json:{}", 'json:{"driver": "raw", "file.filename": "/etc/passwd"}', "nbd:localhost:1", "file:base"),
        *("file:///srv/images/base", "fat:/etc", "base:1", "http://localhost/base"),
    ],
)
def test_backing_file_that_leads_elsewhere_makes_all_above_unusable_and_is_not_followed(recorded: str) -> None:
    outside = image(recorded.rpartition("/")[2])

    found = chains(image("top", "middle"), image("middle", recorded), outside)

    seen = snapshot(found, "middle")
    assert seen.unsafe is Unsafe.UNUSABLE
    assert "'middle': its backing file" in seen.unsafe_reason
    assert not found.overlays_of(outside)


@pytest.mark.parametrize("kind", [None, "", "vmdk", "QCOW2", "host_device"])
def test_backing_file_of_no_or_another_format_is_unusable(kind: str | None) -> None:
    found = chains(image("top", "middle", kind), image("middle"))

    seen = snapshot(found, "middle")

    assert seen.unsafe is Unsafe.UNUSABLE
    assert "overlay 'top'" in seen.unsafe_reason
    assert "only qcow2 and raw" in seen.unsafe_reason


def test_what_is_recorded_as_raw_is_raw_whatever_its_data_claim() -> None:
    hostile = image("guest", "victim", unusable_reason="no", internal_error="no")

    found = chains(image("top", "guest", "raw"), hostile, image("victim"))

    assert snapshot(found, "guest").extra["format"] == "raw"
    assert snapshot(found, "guest").size_bytes == 4096
    assert [each.name for each in found.snapshots()] == ["guest"]
    assert found.unreadable() == []


def test_backing_file_that_is_missing_makes_all_above_unusable() -> None:
    found = chains(image("top", "middle"), image("middle", "gone"))

    assert snapshot(found, "middle").unsafe_reason.startswith("'middle': its backing file 'gone' isn't there")


def test_loop_ends_and_is_unusable_below_and_above() -> None:
    found = chains(image("top", "a"), image("a", "b"), image("b", "a"), image("self", "self"))

    assert {each.name: each.unsafe for each in found.snapshots()} == dict.fromkeys("ab", Unsafe.UNUSABLE) | {
        "self": Unsafe.UNUSABLE
    }
    assert "loop" in snapshot(found, "a").unsafe_reason
    top = found.image("top")
    assert top
    assert "loop" in found.unusable_reason(top)


def test_chain_of_ten_thousand_is_no_deeper_than_any() -> None:
    images = [image(f"{number}", f"{number + 1}") for number in range(10_000)]

    found = chains(*images, image("10000"))

    assert {(each.parent, each.unsafe) for each in found.snapshots()} == {("0", None)}


def test_flaw_of_an_image_is_told_of_all_that_stand_on_it() -> None:
    found = chains(image("top", "middle"), image("middle", "base"), image("base", unusable_reason="it is corrupt"))

    assert snapshot(found, "middle").unsafe_reason == snapshot(found, "base").unsafe_reason == "'base': it is corrupt"


def test_file_that_is_recorded_as_qcow2_and_is_none_is_unusable() -> None:
    broken = replace(raw("base"), malformed_reason="it doesn't begin as a qcow2 file does")

    found = chains(image("top", "base"), broken)

    assert snapshot(found, "base").unsafe_reason == "'base': it doesn't begin as a qcow2 file does"
    assert found.unreadable() == [("base", "it doesn't begin as a qcow2 file does")]


def test_overlay_that_cannot_be_written_makes_what_is_below_unusable() -> None:
    found = chains(image("top", "base", unwritable_reason="it is encrypted"), image("base"))

    assert snapshot(found, "base").unsafe_reason == "its overlay 'top' can't be told another name: it is encrypted"


def test_snapshot_is_in_use_with_its_file_or_its_overlay() -> None:
    top, middle, base = image("top", "middle"), image("middle", "base"), image("base")

    itself = chains(top, replace(middle, locked=True), base)
    overlay = chains(replace(top, locked=True), middle, base)

    assert {each.name: each.unsafe for each in itself.snapshots()} == dict.fromkeys(("middle", "base"), Unsafe.IN_USE)
    assert {each.name: each.unsafe for each in overlay.snapshots()} == {"middle": Unsafe.IN_USE, "base": None}


def test_overlays_of_a_name_are_those_that_record_it_be_it_there_or_not() -> None:
    found = chains(image("a", "base"), image("b", "./base"), image("c", "gone"), image("base"))

    assert {each.name for each in found.overlays_recording("base")} == {"a", "b"}
    assert [each.name for each in found.overlays_recording("gone")] == ["c"]
