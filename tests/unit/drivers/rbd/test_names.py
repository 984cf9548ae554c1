"""The possible readings of the names and ids of RBD images and snapshots."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.drivers.rbd import names
from snapmanage.drivers.rbd.names import Reading, SnapshotIds

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(NAMES, NAMES)
def test_whole_name_is_read_as_an_image_and_its_snapshot(image: str, snapshot: str) -> None:
    assert Reading(image, snapshot) in names.readings(f"{image}@{snapshot}", None)
    assert names.readings(f"{image}@{snapshot}", image)[0].image == image
    assert names.snapshot_part(f"{image}@{snapshot}", image) == snapshot


@given(NAMES, NAMES)
def test_snapshot_alone_is_read_on_its_volume(image: str, snapshot: str) -> None:
    assert Reading(image, snapshot) in names.readings(snapshot, image)


@pytest.mark.parametrize("name", ["daily", "@daily", "@", ""])
def test_name_without_an_image_has_no_reading(name: str) -> None:
    assert names.readings(name, None) == []


def test_snapshot_may_have_an_empty_name() -> None:
    assert names.readings("image@", None) == [Reading("image", "")]


def test_name_with_thousands_of_readings_is_looked_up_in_images_of_the_pool_only() -> None:
    name = "disk" + "@" * 5000

    assert names.few_readings(name, None, lambda: {"disk@@", "other"}) == [Reading("disk@@", "@" * 4997)]
    assert names.few_readings(name, "other", lambda: {"other"}) == [Reading("other", name)]


def test_images_of_the_pool_are_not_listed_for_a_name_with_few_readings() -> None:
    assert names.few_readings("disk@daily", "other", pytest.fail) == names.readings("disk@daily", "other")


def test_snapshot_part_is_known_after_the_image_was_renamed() -> None:
    assert names.snapshot_part("before@daily@1", "after") == "daily@1"


@given(st.from_regex(r"[0-9a-f]{1,16}", fullmatch=True), st.integers(min_value=0, max_value=2**64 - 1))
def test_ids_are_parsed_from_their_own_text(image: str, snapshot: int) -> None:
    assert SnapshotIds.parse(str(SnapshotIds(image, snapshot))) == SnapshotIds(image, snapshot)


def test_snapshot_id_is_parsed_without_an_image_id() -> None:
    assert SnapshotIds.parse("7") == SnapshotIds(None, 7)


@pytest.mark.parametrize("text", ["", "daily", "a@b", "@1", "1@", "1@2@3", "-1", "1@-2", "\u0661", "1\n"])
def test_invalid_ids_are_refused_with_the_expected_form(text: str) -> None:
    with pytest.raises(errors.InvalidReference, match="IMAGE_ID@SNAPSHOT_ID"):
        SnapshotIds.parse(text)


@pytest.mark.parametrize("name", ["a\0", "\ud800"])
def test_name_that_the_bindings_cannot_pass_on_is_refused(name: str) -> None:
    with pytest.raises(errors.InvalidReference):
        names.check_name(name)


@pytest.mark.parametrize(
    ("name", "allowed"), [("snapshot-1", True), ("é x", True), ("", False), ("a@b", False), ("a/b", False)]
)
def test_managed_name_is_refused_where_the_rbd_command_could_not_address_it(name: str, allowed: bool) -> None:
    assert (names.name_refusal(name) is None) is allowed
