"""An entry is sent once: the record, the journal and a fresh scan decide about it."""

from dataclasses import replace
from typing import Any

import pytest

from snapmanage.client.api.records import Record
from snapmanage.client.plan.entries import Expect, Manage
from snapmanage.client.plan.journal import Outcome, State
from snapmanage.client.selection.found import Found
from snapmanage.client.work.verdicts import Retry, Send, decide, joined, of_record

HOST = "storage-1@ceph"


def found(name: str = "disk-1@daily", **fields: Any) -> Found:
    given: dict[str, Any] = {"size_gb": 3, "parent": "disk-1", "identity": "100ff@4"}
    return Found(HOST, {"source-name": name}, **given | fields)


def entry(name: str = "disk-1@daily", key: str = "s1") -> Manage:
    return Manage(key, "v1", HOST, {"source-name": name}, "daily", Expect.of(found(name)))


def test_entry_without_a_record_is_sent() -> None:
    assert decide(entry(), found(), None, None) == Send(entry())


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("available", State.DONE),
        ("creating", State.ACCEPTED),
        ("unmanaging", State.ACCEPTED),
        ("error", State.FAILED),
        ("error_unmanaging", State.FAILED),
        ("managing", State.ACCEPTED),
        ("error_managing", State.FAILED),
        ("error_managing_deleting", State.ACCEPTED),
    ],
)
def test_entry_with_a_record_is_not_sent(status: str, state: State) -> None:
    seen = of_record("s1", Record("id-1", status))

    verdict = decide(entry(), None, seen, None)

    assert isinstance(verdict, Outcome)
    assert (verdict.state, verdict.record_id) == (state, "id-1")


@pytest.mark.parametrize(
    "parent", ["volume-916bf7fc-22b0-4089-9528-bec5083ba14e", "disk-1"], ids=["renamed", "not yet"]
)
def test_entry_is_sent_after_its_volume_was_renamed_by_its_registration(parent: str) -> None:
    names = {"916bf7fc-22b0-4089-9528-bec5083ba14e": "disk-1"}

    [(_, scanned)] = joined(iter([entry()]), iter([found(parent=parent).with_volume_names(names)]))

    assert decide(entry(), scanned, None, None) == Send(entry())


def test_entry_is_not_sent_after_its_volume_was_renamed_by_another_program() -> None:
    names = {"916bf7fc-22b0-4089-9528-bec5083ba14e": "disk-1"}
    scanned = found(parent="volume-c40bb7dc-e61f-4c23-9bdb-fb1a66e4fc99").with_volume_names(names)

    verdict = decide(entry(), scanned, None, None)

    assert isinstance(verdict, Outcome)
    assert verdict.text == "volume was disk-1, is volume-c40bb7dc-e61f-4c23-9bdb-fb1a66e4fc99"


FAILED = Outcome("s1", State.FAILED, "id-1", "unusable", "broken")


def test_failed_record_is_retried_on_request() -> None:
    assert decide(entry(), found(), FAILED, None, retries=True) == Retry(FAILED)
    assert decide(entry(), None, FAILED, None, retries=True) == Retry(FAILED)
    assert decide(entry(), found(), FAILED, None) == FAILED


def test_record_in_another_status_is_not_retried() -> None:
    done = Outcome("s1", State.DONE, "id-1")

    assert decide(entry(), None, done, None, retries=True) == done


def test_failed_record_whose_object_was_replaced_is_not_retried() -> None:
    verdict = decide(entry(), found(identity="100ff@5"), FAILED, None, retries=True)

    assert verdict == Outcome("s1", State.FAILED, "id-1", "changed_since_plan", "identity was 100ff@4, is 100ff@5")


def test_request_without_an_answer_is_repeated() -> None:
    assert decide(entry(), found(), None, Outcome("s1", State.SENDING)) == Send(entry())


def test_refused_entry_is_sent_again() -> None:
    assert decide(entry(), found(), None, Outcome("s1", State.FAILED, why="quota_exceeded")) == Send(entry())


def test_entry_whose_record_was_unmanaged_is_not_sent_again() -> None:
    verdict = decide(entry(), found(), None, Outcome("s1", State.DONE, "id-1"))

    assert isinstance(verdict, Outcome)
    assert verdict.state is State.UNDONE


def test_entry_whose_volume_was_unmanaged_is_not_sent_again() -> None:
    undone = Outcome("s1", State.UNDONE, why="undone")

    assert decide(entry(), found(), None, undone) == replace(undone, text="its record was unmanaged; make a new plan")


@pytest.mark.parametrize(
    ("now", "why", "text"),
    [
        (None, "changed_since_plan", "not on storage-1@ceph any more"),
        (found(size_gb=4), "changed_since_plan", "size was 3, is 4"),
        (found(identity="100ff@5"), "changed_since_plan", "identity was 100ff@4, is 100ff@5"),
        (found(reason_not_safe="in use: qemu"), "changed_since_plan", "not safe to manage any more: in use: qemu"),
        (found(record_id="id-2"), "already_managed", "another record owns"),
        (found(rename="refuse", origin_why="zrepl holds it"), "origin_refuses", "zrepl holds it"),
    ],
)
def test_entry_that_no_longer_fits_the_backend_is_not_sent(now: Found | None, why: str, text: str) -> None:
    verdict = decide(entry(), now, None, None)

    assert isinstance(verdict, Outcome)
    assert (verdict.state, verdict.why) == (State.FAILED, why)
    assert text in (verdict.text or "")


def test_fact_that_the_service_no_longer_shows_is_no_change() -> None:
    assert isinstance(decide(entry(), found(identity=None), None, None), Send)


def test_unsafe_snapshot_with_a_warning_is_sent() -> None:
    warned = replace(entry(), warnings=("not safe to manage: in use",))

    assert isinstance(decide(warned, found(reason_not_safe="in use"), None, None), Send)


def test_entries_are_joined_with_the_scan_in_one_pass() -> None:
    planned = [entry("disk-1@a"), entry("disk-1@c"), entry("disk-1@d")]
    scanned = [found(f"disk-1@{letter}") for letter in ("a", "b", "d")]

    pairs = [(each.source, other.name if other else None) for each, other in joined(iter(planned), iter(scanned))]

    assert pairs == [("disk-1@a", "disk-1@a"), ("disk-1@c", None), ("disk-1@d", "disk-1@d")]


def test_entry_is_joined_with_the_snapshot_of_its_name_on_another_volume() -> None:
    moved = found("disk-1@a", parent="disk-2")

    [(planned, now)] = joined(iter([entry("disk-1@a")]), iter([moved]))

    assert now == moved
    assert decide(planned, now, None, None) == Outcome(
        "s1", State.FAILED, None, "changed_since_plan", "volume was disk-1, is disk-2"
    )


def test_entry_is_joined_with_the_snapshot_of_its_volume_if_several_have_its_name() -> None:
    several = [found("daily", parent=volume) for volume in ("disk-0", "disk-1", "disk-2")]

    assert [now for _, now in joined(iter([entry("daily")]), iter(several))] == [several[1]]


def test_volume_that_the_plan_does_not_expect_is_no_change() -> None:
    edited = replace(entry(), expect=replace(entry().expect, parent=None))

    assert decide(edited, found(), None, None) == Send(edited)


def test_snapshot_that_has_lost_its_volume_has_changed() -> None:
    verdict = decide(entry(), found(parent=None), None, None)

    assert isinstance(verdict, Outcome)
    assert verdict.text == "volume was disk-1, is None"
