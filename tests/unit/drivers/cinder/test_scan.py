"""What vendors' drivers list becomes values, in whatever form they put it."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import Unsafe
from snapmanage.drivers.cinder.entries import Seen
from snapmanage.drivers.cinder.scan import Scans
from snapmanage.drivers.cinder.vendors import Vendor
from tests.waiting import until

ENTRY: Mapping[str, Any] = {
    "reference": {"source-name": "daily"},
    "size": 2,
    "safe_to_manage": True,
    "source_reference": {"source-name": "disk-1"},
}


class Answers:
    """In place of the vendor's driver: what it answers, and what it was asked."""

    def __init__(self, *entries: Mapping[str, Any], identities: Any = None) -> None:
        self.entries = entries
        self.identities = [identities]
        self.asked: list[Mapping[str, str]] = []
        self.open = threading.Event()
        self.open.set()

    def call(self, operation: str, **arguments: Any) -> Any:
        self.asked.append(arguments["records"])
        self.open.wait(20)
        told = self.identities.pop(0) if len(self.identities) > 1 else self.identities[0]
        return {"entries": self.entries, "identities": told}


def scans(answers: Answers, vendor: Vendor | None = None) -> Scans:
    return Scans(answers, vendor or Vendor())  # type: ignore[arg-type] # it is called like one


def seen(vendor: Vendor | None = None, identities: Any = None, **fields: Any) -> Seen:
    [only] = scans(Answers({**ENTRY, **fields}, identities=identities), vendor).snapshots({})
    return only


@pytest.mark.parametrize(
    ("reference", "name", "identity", "stable"),
    [
        ({"source-name": "daily"}, "daily", "name daily", False),
        ({"name": "daily"}, "daily", "name daily", False),
        ({"source-name": "daily", "source-id": 17}, "daily", "17", True),
        ({"source-name": "daily", "source-guid": "a-guid", "source-id": "17"}, "daily", "a-guid", True),
        ({"source-id": "17"}, "17", "17", True),
    ],
)
def test_name_and_identity_come_from_whatever_the_reference_has(
    reference: dict[str, Any], name: str, identity: str, stable: bool
) -> None:
    found = seen(reference=reference)

    assert (found.name, found.identity, found.stable) == (name, identity, stable)


@pytest.mark.parametrize(
    ("source", "parent"),
    [
        ({"name": "disk-1"}, "disk-1"),
        ({"volume-id": "part-1"}, "part-1"),
        ("disk-1", "disk-1"),
        (None, None),
        ({}, None),
    ],
)
def test_volume_comes_from_whatever_the_source_has(source: Any, parent: str | None) -> None:
    assert seen(source_reference=source).parent == parent


def test_volume_has_an_identity_where_its_reference_has_one() -> None:
    assert seen(source_reference={"name": "disk-1"}).parent_identity is None
    assert seen(source_reference={"source-name": "disk-1", "source-id": "5"}).parent_identity == "5"


@pytest.mark.parametrize(
    ("reason", "unsafe"),
    [
        ("snapshot in use", Unsafe.IN_USE),
        ("Volume In-use", Unsafe.IN_USE),
        ("snapshot has mappings", Unsafe.IN_USE),
        ("used for clone snap", Unsafe.UNUSABLE),
        ("Snapshot is deleted.", Unsafe.UNUSABLE),
        (None, Unsafe.UNUSABLE),
    ],
)
def test_unsafe_snapshot_is_in_use_or_unusable(reason: str | None, unsafe: Unsafe) -> None:
    found = seen(safe_to_manage=False, reason_not_safe=reason)

    assert found.unsafe is unsafe
    assert found.unsafe_reason


def test_size_is_rounded_up() -> None:
    assert seen(size=1.01).size_gb == 2


def test_names_within_volumes_are_told_with_their_volume() -> None:
    found = seen(Vendor(within_volume="@", ours=True))

    assert (found.name, found.listed_name) == ("disk-1@daily", "daily")


def test_table_of_identities_counts_where_there_is_one() -> None:
    found = seen(identities={"daily": "uuid-1", "disk-1": "uuid-2"})

    assert (found.identity, found.parent_identity, found.stable) == ("uuid-1", "uuid-2", True)


def test_what_is_not_to_be_seen_is_left_out() -> None:
    assert scans(Answers(ENTRY, identities={"daily": None})).snapshots({}) == []


def test_backend_that_changes_while_it_is_listed_is_listed_again() -> None:
    answers = Answers(ENTRY)
    answers.identities = [{}, {"daily": "uuid-1"}]

    assert [found.identity for found in scans(answers).snapshots({})] == ["uuid-1"]
    assert len(answers.asked) == 2


def test_backend_that_changes_all_the_time_is_busy() -> None:
    with pytest.raises(errors.BackendBusy):
        scans(Answers(ENTRY, identities={})).snapshots({})


@pytest.mark.parametrize("wrong", [{"reference": None}, {"size": "big"}, {"size": None}, {"reference": "daily"}])
def test_entry_that_cannot_be_read_is_no_empty_listing(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.BackendError, match="can't be read"):
        seen(**wrong)


def test_who_waits_for_a_scan_shares_the_next_one_and_each_ones_records_are_in_it() -> None:
    answers = Answers(ENTRY)
    answers.open.clear()
    shared = scans(answers)

    with ThreadPoolExecutor(3) as workers:
        first = workers.submit(shared.snapshots, {"record-1": "one"})
        until(lambda: answers.asked, "the first scan to be under way")
        rest = [workers.submit(shared.snapshots, {f"record-{number}": "more"}) for number in (2, 3)]
        until(lambda: len(shared.waiting) == 2, "two to wait for the next")
        answers.open.set()
        found = [each.result(20) for each in (first, *rest)]

    assert answers.asked == [{"record-1": "one"}, {"record-2": "more", "record-3": "more"}]
    assert found[0] == found[1] == found[2]


def test_scan_that_fails_is_made_again_for_who_waited() -> None:
    answers = Answers({"size": "wrong"})
    shared = scans(answers)
    with pytest.raises(errors.BackendError):
        shared.snapshots({"record-1": "one"})
    answers.entries = (ENTRY,)

    assert len(shared.snapshots({"record-2": "two"})) == 1
