"""The chain of the audit log reveals changed and removed rows, and gaps in the generations of a snapshot."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core.audit import chain as audit
from snapmanage.core.audit.chain import START, Entry, Head
from tests.examples import NOW, SNAPSHOT_ID, new_id


def chain(length: int) -> tuple[list[Entry], Head]:
    entries: list[Entry] = []
    head = START
    for generation in range(1, length + 1):
        payload = {"event_id": new_id(), "snapshot_id": SNAPSHOT_ID, "generation": generation, "name": "\N{CAMERA}"}
        entries.append(audit.next_entry(head, "snapshot.manage.start", payload, NOW + timedelta(seconds=generation)))
        head = Head(entries[-1].number, entries[-1].digest)
    return entries, head


@given(st.integers(0, 20))
def test_untouched_chain_is_whole(length: int) -> None:
    entries, head = chain(length)

    assert audit.first_break(entries, head) is None
    assert head.number == length


def test_entry_holds_the_event_as_it_was_received() -> None:
    payload = {"event_id": new_id(), "snapshot_id": SNAPSHOT_ID, "generation": 4, "metadata": {"k": "v"}}

    entry = audit.next_entry(Head(6, "d" * 64), "snapshot.manage.end", payload, NOW)

    assert entry.payload == payload
    assert (entry.number, entry.previous_digest, entry.generation) == (7, "d" * 64, 4)


@pytest.mark.parametrize(
    "tampered",
    [
        {"event_id": new_id()},
        {"event_type": "snapshot.manage.end"},
        {"snapshot_id": new_id()},
        {"generation": 9},
        {"content": "{}"},
        {"heard_at": NOW},
        {"digest": "0" * 64},
    ],
    ids=lambda fields: next(iter(fields)),
)
@pytest.mark.parametrize("row", [1, 2, 3])
def test_changed_row_is_reported(tampered: dict[str, Any], row: int) -> None:
    entries, head = chain(3)
    entries[row - 1] = replace(entries[row - 1], **tampered)

    assert audit.first_break(entries, head) == f"row {row} was changed"


def test_recomputed_digest_of_a_row_breaks_the_chain_at_the_next_row() -> None:
    entries, head = chain(3)
    entries[1] = audit.next_entry(
        Head(entries[0].number, entries[0].digest), "snapshot.manage.end", entries[1].payload, NOW
    )

    assert audit.first_break(entries, head) == "row 3 doesn't follow from row 2"


@pytest.mark.parametrize(("removed", "message"), [(0, "row 1 is missing"), (1, "row 2 is missing")])
def test_removed_row_is_reported(removed: int, message: str) -> None:
    entries, head = chain(3)
    del entries[removed]

    assert (audit.first_break(entries, head) or "").startswith(message)


def test_rows_out_of_order_are_reported() -> None:
    entries, head = chain(3)

    assert audit.first_break([entries[0], entries[2], entries[1]], head) is not None


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_rows_cut_off_at_the_end_are_reported(kept: int) -> None:
    entries, head = chain(3)

    assert "rows were cut off" in (audit.first_break(entries[:kept], head) or "")


def test_row_added_without_a_new_head_is_reported() -> None:
    entries, _ = chain(3)

    assert audit.first_break(entries, Head(entries[1].number, entries[1].digest)) is not None


@pytest.mark.parametrize(
    ("payload", "previous"),
    [
        ({"generation": 0}, None),
        ({"generation": 1}, None),
        ({"generation": 2}, 1),
        ({"generation": 2, "previous_generation": None}, None),
        ({"generation": 7, "previous_generation": 3}, 3),
        ({"generation": 7, "previous_generation": "six"}, 6),
    ],
    ids=["rejected request", "first", "second", "first of an older release", "later of an older release", "invalid"],
)
def test_event_follows_the_previous_generation(payload: dict[str, Any], previous: int | None) -> None:
    assert audit.previous_generation(payload["generation"], payload) == previous


@given(st.integers(0, 5))
def test_chain_is_followed_from_any_entry(purged: int) -> None:
    entries, head = chain(5)
    base = Head(purged, entries[purged - 1].digest) if purged else START

    assert audit.first_break(entries[purged:], head, base) is None


def test_other_entry_before_the_first_breaks_the_chain() -> None:
    entries, head = chain(3)

    assert audit.first_break(entries[1:], head, Head(1, "f" * 64)) == "row 2 doesn't follow from row 1"


def test_head_is_parsed_as_it_is_printed() -> None:
    head = Head(7, "0a" * 32)

    assert Head.parse(str(head)) == head


@pytest.mark.parametrize("text", ["", "7", "7:", f"7:{'g' * 64}", f"7:{'A' * 64}", f"-1:{'a' * 64}", f"7:{'a' * 65}"])
def test_other_text_is_no_head(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="NUMBER:DIGEST"):
        Head.parse(text)


def test_payload_with_a_number_that_is_not_finite_is_no_entry() -> None:
    payload = {"event_id": new_id(), "snapshot_id": SNAPSHOT_ID, "generation": 1, "size_gb": float("nan")}

    with pytest.raises(ValueError, match="not JSON compliant"):
        audit.next_entry(START, "snapshot.manage.end", payload, NOW)
