"""What the names and ids of RBD images and snapshots may mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.drivers.rbd import names
from snapmanage.drivers.rbd.names import Ids, Reading

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


@given(NAMES, NAMES)
def test_snapshot_of_any_name_can_be_meant_with_its_image(image: str, snapshot: str) -> None:
    assert Reading(image, snapshot) in names.readings(f"{image}@{snapshot}", None)
    assert names.readings(f"{image}@{snapshot}", image)[0].image == image
    assert names.snapshot_part(f"{image}@{snapshot}", image) == snapshot


@given(NAMES, NAMES)
def test_snapshot_of_any_name_can_be_meant_alone_on_its_volume(image: str, snapshot: str) -> None:
    assert Reading(image, snapshot) in names.readings(snapshot, image)


@pytest.mark.parametrize("name", ["daily", "@daily", "@", ""])
def test_name_without_an_image_or_a_snapshot_means_nothing_alone(name: str) -> None:
    assert names.readings(name, None) == []


def test_snapshot_may_have_no_name_but_an_image_has_one() -> None:
    assert names.readings("image@", None) == [Reading("image", "")]


def test_image_that_has_another_name_by_now_leaves_the_snapshots_part() -> None:
    assert names.snapshot_part("before@daily@1", "after") == "daily@1"


@given(st.from_regex(r"[0-9a-f]{1,16}", fullmatch=True), st.integers(min_value=0, max_value=2**64 - 1))
def test_ids_are_read_as_they_are_written(image: str, snapshot: int) -> None:
    assert Ids.parse(str(Ids(image, snapshot))) == Ids(image, snapshot)


def test_snapshots_id_may_stand_alone() -> None:
    assert Ids.parse("7") == Ids(None, 7)


@pytest.mark.parametrize("text", ["", "daily", "a@b", "@1", "1@", "1@2@3", "-1", "1@-2", "\u0661", "1\n"])
def test_what_is_no_id_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(errors.InvalidReference, match="IMAGE_ID@SNAPSHOT_ID"):
        Ids.parse(text)


@pytest.mark.parametrize("name", ["a\0", "\ud800"])
def test_name_that_the_bindings_would_take_for_another_is_refused(name: str) -> None:
    with pytest.raises(errors.InvalidReference):
        names.checked(name)


@pytest.mark.parametrize(
    ("name", "may"), [("snapshot-1", True), ("é x", True), ("", False), ("a@b", False), ("a/b", False)]
)
def test_name_is_given_only_where_the_rbd_command_could_address_it(name: str, may: bool) -> None:
    assert (names.refusal(name) is None) is may
