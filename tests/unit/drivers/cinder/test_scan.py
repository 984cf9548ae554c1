"""Parsing the listings of vendor drivers, whose forms differ, and sharing scans."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.backend import Unsafe
from snapmanage.drivers.cinder.entries import ListingEntry
from snapmanage.drivers.cinder.scan import Scanner
from snapmanage.drivers.cinder.vendors import Vendor
from snapmanage.testing.waiting import until

ENTRY: Mapping[str, Any] = {
    "reference": {"source-name": "daily"},
    "size": 2,
    "safe_to_manage": True,
    "source_reference": {"source-name": "disk-1"},
}


class FakeProcess:
    """A stand-in for the vendor driver's process, which returns `entries` and keeps the records of each request."""

    def __init__(self, *entries: Mapping[str, Any], identities: Any = None) -> None:
        self.entries = entries
        self.identities = [identities]
        self.requested_records: list[Mapping[str, str]] = []
        self.open = threading.Event()
        self.open.set()

    def call(self, operation: str, **arguments: Any) -> Any:
        self.requested_records.append(arguments["records"])
        self.open.wait(20)
        identities = self.identities.pop(0) if len(self.identities) > 1 else self.identities[0]
        return {"entries": self.entries, "identities": identities}


def scanner_of(process: FakeProcess, vendor: Vendor | None = None) -> Scanner:
    return Scanner(process, vendor or Vendor())  # type: ignore[arg-type] # it has the same `call`


def entry_of(vendor: Vendor | None = None, identities: Any = None, **fields: Any) -> ListingEntry:
    [only] = scanner_of(FakeProcess({**ENTRY, **fields}, identities=identities), vendor).snapshots({})
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
def test_name_and_identity_are_read_from_any_form_of_reference(
    reference: dict[str, Any], name: str, identity: str, stable: bool
) -> None:
    found = entry_of(reference=reference)

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
def test_volume_is_read_from_any_form_of_source(source: Any, parent: str | None) -> None:
    assert entry_of(source_reference=source).parent == parent


def test_volume_has_an_identity_if_its_reference_has_one() -> None:
    assert entry_of(source_reference={"name": "disk-1"}).parent_identity is None
    assert entry_of(source_reference={"source-name": "disk-1", "source-id": "5"}).parent_identity == "5"


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
    found = entry_of(safe_to_manage=False, reason_not_safe=reason)

    assert found.unsafe is unsafe
    assert found.unsafe_reason


def test_size_is_rounded_up() -> None:
    assert entry_of(size=1.01).size_gb == 2


def test_short_names_are_joined_with_the_volume() -> None:
    found = entry_of(Vendor(separator="@", short_names=True))

    assert (found.name, found.listed_name) == ("disk-1@daily", "daily")


def test_table_of_identities_is_preferred_to_the_reference() -> None:
    found = entry_of(identities={"daily": "uuid-1", "disk-1": "uuid-2"})

    assert (found.identity, found.parent_identity, found.stable) == ("uuid-1", "uuid-2", True)


def test_object_with_a_hidden_identity_is_omitted() -> None:
    assert scanner_of(FakeProcess(ENTRY, identities={"daily": None})).snapshots({}) == []


def test_listing_is_repeated_after_the_backend_changed() -> None:
    process = FakeProcess(ENTRY)
    process.identities = [{}, {"daily": "uuid-1"}]

    assert [found.identity for found in scanner_of(process).snapshots({})] == ["uuid-1"]
    assert len(process.requested_records) == 2


def test_backend_that_changes_during_every_listing_is_busy() -> None:
    with pytest.raises(errors.BackendBusy):
        scanner_of(FakeProcess(ENTRY, identities={})).snapshots({})


@pytest.mark.parametrize("wrong", [{"reference": None}, {"size": "big"}, {"size": None}, {"reference": "daily"}])
def test_unreadable_entry_fails_the_listing(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.BackendError, match="can't be read"):
        entry_of(**wrong)


def test_waiting_callers_share_the_next_scan_which_has_the_records_of_all() -> None:
    process = FakeProcess(ENTRY)
    process.open.clear()
    shared = scanner_of(process)

    with ThreadPoolExecutor(3) as workers:
        first = workers.submit(shared.snapshots, {"record-1": "one"})
        until(lambda: process.requested_records, "the first scan to start")
        rest = [workers.submit(shared.snapshots, {f"record-{number}": "more"}) for number in (2, 3)]
        until(lambda: len(shared.waiting) == 2, "two callers to wait for the next scan")
        process.open.set()
        found = [each.result(20) for each in (first, *rest)]

    assert process.requested_records == [{"record-1": "one"}, {"record-2": "more", "record-3": "more"}]
    assert found[0] == found[1] == found[2]


def test_next_caller_scans_again_after_a_failed_scan() -> None:
    process = FakeProcess({"size": "wrong"})
    shared = scanner_of(process)
    with pytest.raises(errors.BackendError):
        shared.snapshots({"record-1": "one"})
    process.entries = (ENTRY,)

    assert len(shared.snapshots({"record-2": "two"})) == 1
