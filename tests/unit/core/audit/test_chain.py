"""The chain of the audit log reveals changed and removed rows, and gaps in the generations of a snapshot."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage.core.audit import chain as audit
from snapmanage.core.audit.chain import START, Entry, Gap, Head
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
    ],
    ids=["rejected request", "first", "second", "first of an older release", "later of an older release"],
)
def test_entry_follows_the_previous_generation(payload: dict[str, Any], previous: int | None) -> None:
    event = payload | {"event_id": new_id(), "snapshot_id": SNAPSHOT_ID}

    assert audit.next_entry(audit.START, "snapshot.manage.end", event, NOW).previous_generation == previous


@pytest.mark.parametrize(
    ("steps", "gaps"),
    [
        ([], []),
        ([("snapshot.manage.start", 2, None), ("snapshot.manage.end", 3, 2)], []),
        ([("snapshot.manage.error", 0, None)], []),
        ([("snapshot.manage.start", 2, None)], ["snapshot.manage.start (2) has no ending"]),
        ([("snapshot.manage.end", 3, 2)], ["generation 2 is missing before snapshot.manage.end (3)"]),
        (
            [("snapshot.manage.start", 2, None), ("snapshot.unmanage.start", 5, 3), ("snapshot.unmanage.end", 6, 5)],
            ["generation 3 is missing before snapshot.unmanage.start (5)"],
        ),
        (
            [("snapshot.manage.start", 2, None), ("snapshot.manage.end", 3, 2), ("snapshot.unmanage.start", 5, 3)],
            ["snapshot.unmanage.start (5) has no ending"],
        ),
    ],
)
def test_missing_events_of_a_snapshot_are_reported(steps: list[Any], gaps: list[str]) -> None:
    events = [(SNAPSHOT_ID, *step) for step in steps]

    assert audit.gaps(events) == [Gap(SNAPSHOT_ID, reason) for reason in gaps]


def test_events_of_one_snapshot_fill_no_gap_of_another() -> None:
    events = [("a", "snapshot.manage.start", 2, None), ("b", "snapshot.manage.end", 3, 2)]

    assert {gap.snapshot_id for gap in audit.gaps(events)} == {"a", "b"}
