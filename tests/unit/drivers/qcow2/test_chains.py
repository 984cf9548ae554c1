"""Volumes and snapshots among the images of a directory, and the reasons why an image is unusable."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from snapmanage.core.backend import BackendSnapshot, Unsafe
from snapmanage.drivers.qcow2.chains import Chains
from snapmanage.drivers.qcow2.format import Header, InternalSnapshot
from snapmanage.drivers.qcow2.image import Image

DIRECTORY_PATHS = {"/srv/images", "/mnt/nfs/images"}
CREATED_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def image(name: str, backing: str | None = None, kind: str | None = "qcow2", **header: Any) -> Image:
    found = Header(1024**2, backing, kind if backing else None, **header)
    return Image((name,), f"identity-of-{name}", 4096, CREATED_AT, header=found)


def raw(name: str) -> Image:
    return replace(image(name), header=None)


def chains(*images: Image) -> Chains:
    return Chains(images, DIRECTORY_PATHS)


def snapshot(found: Chains, name: str) -> BackendSnapshot:
    [one] = [snapshot for snapshot in found.snapshots() if snapshot.name == name]
    return one


def test_image_on_top_is_the_volume_and_each_backing_file_is_a_snapshot_of_it() -> None:
    found = chains(image("top", "middle"), image("middle", "base", "raw"), raw("base"), image("another"))

    assert {(each.name, each.parent, each.parent_identity) for each in found.snapshots()} == {
        ("middle", "top", "identity-of-top"),
        ("base", "top", "identity-of-top"),
    }


def test_qcow2_snapshot_has_its_virtual_size_and_a_raw_one_its_file_size() -> None:
    found = chains(image("top", "middle"), image("middle", "base", "raw"), raw("base"))

    assert (snapshot(found, "middle").size_bytes, snapshot(found, "base").size_bytes) == (1024**2, 4096)


def test_snapshot_below_several_volumes_has_no_parent_and_lists_its_overlays() -> None:
    found = chains(image("b", "base"), image("a", "base"), image("c", "a"), image("base", "bottom"), image("bottom"))

    assert snapshot(found, "base").parent is None
    assert snapshot(found, "bottom").parent is None
    assert snapshot(found, "a").parent == "c"
    assert snapshot(found, "base").extra == {"kind": "external", "format": "qcow2", "overlays": "a, b"}


def test_snapshot_below_a_volume_with_two_names_has_that_volume_as_its_parent() -> None:
    top = image("top", "base")

    found = chains(top, replace(top, names=("top-too",)), image("base"))

    assert snapshot(found, "base").parent == "top"
    assert snapshot(found, "base").extra["overlays"] == "top"


def test_internal_snapshot_has_the_volume_on_top_as_its_parent() -> None:
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
def test_backing_file_name_in_the_directory_is_followed_with_any_path_of_the_directory(recorded: str) -> None:
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
def test_backing_file_name_outside_the_directory_is_not_followed_and_makes_the_image_unusable(recorded: str) -> None:
    outside = image(recorded.rpartition("/")[2])

    found = chains(image("top", "middle"), image("middle", recorded), outside)

    seen = snapshot(found, "middle")
    assert seen.unsafe is Unsafe.UNUSABLE
    assert "'middle': its backing file" in seen.unsafe_reason
    assert not found.overlays_of(outside)


@pytest.mark.parametrize("kind", [None, "", "vmdk", "QCOW2", "host_device"])
def test_backing_file_with_no_recorded_format_or_an_unsupported_one_is_unusable(kind: str | None) -> None:
    found = chains(image("top", "middle", kind), image("middle"))

    seen = snapshot(found, "middle")

    assert seen.unsafe is Unsafe.UNUSABLE
    assert "overlay 'top'" in seen.unsafe_reason
    assert "only qcow2 and raw" in seen.unsafe_reason


def test_file_recorded_as_raw_is_raw_even_if_its_data_look_like_qcow2() -> None:
    hostile = image("guest", "victim", unusable_reason="no", internal_error="no")

    found = chains(image("top", "guest", "raw"), hostile, image("victim"))

    assert snapshot(found, "guest").extra["format"] == "raw"
    assert snapshot(found, "guest").size_bytes == 4096
    assert [each.name for each in found.snapshots()] == ["guest"]
    assert found.unreadable() == []


def test_missing_backing_file_makes_the_images_above_unusable() -> None:
    found = chains(image("top", "middle"), image("middle", "gone"))

    assert snapshot(found, "middle").unsafe_reason.startswith("'middle': its backing file 'gone' doesn't exist")


def test_loop_makes_its_images_and_those_above_unusable() -> None:
    found = chains(image("top", "a"), image("a", "b"), image("b", "a"), image("self", "self"))

    assert {each.name: each.unsafe for each in found.snapshots()} == dict.fromkeys("ab", Unsafe.UNUSABLE) | {
        "self": Unsafe.UNUSABLE
    }
    assert "loop" in snapshot(found, "a").unsafe_reason
    top = found.image("top")
    assert top
    assert "loop" in found.unusable_reason(top)


def test_chain_of_ten_thousand_images_exceeds_no_recursion_limit() -> None:
    images = [image(f"{number}", f"{number + 1}") for number in range(10_000)]

    found = chains(*images, image("10000"))

    assert {(each.parent, each.unsafe) for each in found.snapshots()} == {("0", None)}


def test_images_above_an_unusable_image_are_unusable_for_the_same_reason() -> None:
    found = chains(image("top", "middle"), image("middle", "base"), image("base", unusable_reason="it is corrupt"))

    assert snapshot(found, "middle").unsafe_reason == snapshot(found, "base").unsafe_reason == "'base': it is corrupt"


def test_file_recorded_as_qcow2_that_is_not_qcow2_is_unusable() -> None:
    broken = replace(raw("base"), malformed_reason="it doesn't begin like a qcow2 file")

    found = chains(image("top", "base"), broken)

    assert snapshot(found, "base").unsafe_reason == "'base': it doesn't begin like a qcow2 file"
    assert found.unreadable() == [("base", "it doesn't begin like a qcow2 file")]


def test_overlay_that_cannot_be_written_makes_its_backing_file_unusable() -> None:
    found = chains(image("top", "base", unwritable_reason="it is encrypted"), image("base"))

    assert (
        snapshot(found, "base").unsafe_reason
        == "its overlay 'top' can't record another backing file name: it is encrypted"
    )


def test_snapshot_is_in_use_if_its_file_or_its_overlay_is_locked() -> None:
    top, middle, base = image("top", "middle"), image("middle", "base"), image("base")

    itself = chains(top, replace(middle, locked=True), base)
    overlay = chains(replace(top, locked=True), middle, base)

    assert {each.name: each.unsafe for each in itself.snapshots()} == dict.fromkeys(("middle", "base"), Unsafe.IN_USE)
    assert {each.name: each.unsafe for each in overlay.snapshots()} == {"middle": Unsafe.IN_USE, "base": None}


def test_overlays_recording_a_name_are_found_even_if_no_file_has_the_name() -> None:
    found = chains(image("a", "base"), image("b", "./base"), image("c", "gone"), image("base"))

    assert {each.name for each in found.overlays_recording("base")} == {"a", "b"}
    assert [each.name for each in found.overlays_recording("gone")] == ["c"]
