"""Edits of names, descriptions and metadata."""

from datetime import timedelta

import pytest

from snapmanage import errors
from snapmanage.core import edits, events
from snapmanage.core.change import Change
from snapmanage.core.edits import Edit
from snapmanage.core.events import Step
from snapmanage.core.records import changed
from snapmanage.core.values.metadata import MOST_PAIRS
from tests.examples import NOW, available_volume, snapshot

LATER = NOW + timedelta(minutes=1)
PAIRS = {"a": "1", "b": "2"}


def test_edit_of_a_text_changes_this_text_and_the_time_of_the_change() -> None:
    before = snapshot(name="old", description="kept", metadata=PAIRS)

    after = edits.apply(before, Edit(texts={"name": None}), LATER).after

    assert after == changed(before, name=None, updated_at=LATER)


@pytest.mark.parametrize(
    ("edit", "pairs"),
    [
        (Edit(added={"b": "3", "c": "4"}), {"a": "1", "b": "3", "c": "4"}),
        (Edit(metadata={"c": "4"}), {"c": "4"}),
        (Edit(metadata={}), {}),
        (Edit(removed="a"), {"b": "2"}),
        (Edit(), PAIRS),
    ],
    ids=["added", "replaced", "emptied", "removed", "nothing"],
)
def test_edit_of_metadata_leaves_the_time_of_the_change_as_it_is(edit: Edit, pairs: dict[str, str]) -> None:
    before = available_volume(metadata=PAIRS, updated_at=NOW)

    assert edits.apply(before, edit, LATER) == Change(before, changed(before, metadata=pairs))


def test_missing_pair_cannot_be_removed() -> None:
    with pytest.raises(errors.NotFound, match="has no metadata with key c"):
        edits.apply(snapshot(metadata=PAIRS), Edit(removed="c"), LATER)


@pytest.mark.parametrize("number", [MOST_PAIRS, MOST_PAIRS + 50])
def test_edit_cannot_enlarge_metadata_beyond_the_limit(number: int) -> None:
    """A cast may have had more pairs: these can be changed and removed."""
    full = snapshot(metadata=dict.fromkeys(map(str, range(number)), "v"))

    with pytest.raises(errors.InvalidRequest, match=f"{number + 1} pairs; the limit is 128"):
        edits.apply(full, Edit(added={"one more": "v"}), LATER)
    assert edits.apply(full, Edit(added={"0": "w"}), LATER).after.metadata["0"] == "w"
    assert len(edits.apply(full, Edit(removed="0"), LATER).after.metadata) == number - 1


def test_change_of_a_worker_announces_the_name_and_the_metadata_that_the_record_has_now() -> None:
    read = snapshot(name="old")
    done = changed(read, generation=2)
    change = Change(read, done, events.announce(done, Step.END, NOW))

    rebased = edits.rebase(change, "new", PAIRS)

    edited = changed(done, name="new", metadata=PAIRS)
    assert rebased.after == edited
    assert rebased.event == events.announce(edited, Step.END, NOW)
    assert (rebased.before.name, rebased.before.metadata) == ("new", PAIRS)


def test_change_of_a_worker_adds_its_pairs_to_the_metadata_that_the_record_has_now() -> None:
    read = snapshot(metadata={"a": "1", "b": "2"})
    change = Change(read, changed(read, metadata={"a": "1", "b": "2", "origin": "sanoid", "new": "x"}))

    rebased = edits.rebase(change, None, {"a": "3", "new": "y"})

    assert rebased.before.metadata == {"a": "3", "new": "y"}
    assert rebased.after.metadata == {"a": "3", "new": "y", "origin": "sanoid"}


def test_pairs_that_a_worker_adds_are_left_out_if_edits_have_filled_the_metadata() -> None:
    read = snapshot()
    full = dict.fromkeys(map(str, range(MOST_PAIRS)), "v")

    rebased = edits.rebase(Change(read, changed(read, metadata={"origin": "sanoid"})), None, full)

    assert rebased.after.metadata == full


def test_change_of_a_record_without_edits_stays_as_it_is() -> None:
    change = Change(snapshot(), snapshot(generation=1))

    assert edits.rebase(change, None, {}) is change
