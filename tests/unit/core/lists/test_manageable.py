"""Lists of manageable snapshots: marked, sorted and paged."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core.backend import GIB, BackendSnapshot, Unsafe
from snapmanage.core.lists import filters, manageable
from snapmanage.core.lists.filters import Filters, Page
from snapmanage.core.lists.inventory import Inventory
from snapmanage.core.lists.manageable import Owned
from snapmanage.core.lists.selectors import Selectors
from snapmanage.core.lists.sorting import SORT_DIRECTIONS, SORT_KEYS, Sort
from snapmanage.core.reference import Reference
from tests import examples
from tests.examples import NOW, VOLUME_ID

BY_REFERENCE = (("reference", "asc"),)
SORTS = st.lists(
    st.tuples(st.sampled_from(SORT_KEYS), st.sampled_from(SORT_DIRECTIONS)),
    min_size=1,
    max_size=3,
).map(tuple)
BACKENDS = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 3)),
    unique_by=lambda each: each[0],
    max_size=12,
)


def backend(*sizes: tuple[str, int]) -> list[BackendSnapshot]:
    return [examples.found(name, size_bytes=size * GIB) for name, size in sizes]


def names_on_page(found: list[BackendSnapshot], page: Page) -> list[str]:
    """Return the names on the page."""
    return [each.name for each in filters.on_page(Inventory(found).candidates(page), page)]


def test_safe_entry_is_sent_with_every_field() -> None:
    (entry,) = manageable.entries(manageable.assess([examples.found(extra={"lv_attr": "swi---s---"})], Owned()))

    assert entry.as_wire() == {
        "reference": {"source-name": "daily"},
        "size": 3,
        "safe_to_manage": True,
        "source_reference": {"source-name": "disk"},
        "reason_not_safe": None,
        "extra_info": {"lv_attr": "swi---s---"},
        "cinder_id": None,
    }


def test_own_fields_are_sent_on_request() -> None:
    at = datetime(2026, 11, 1, 12, tzinfo=UTC)
    known, unknown = manageable.entries(
        manageable.assess([examples.found(created_at=at), examples.found_volume(identity="")], Owned())
    )

    assert known.as_wire(own_fields=True) == known.as_wire() | {
        "snapmanage:identity": "identity of daily",
        "snapmanage:created_at": "2026-11-01T12:00:00.000000",
    }
    assert unknown.as_wire(own_fields=True) == unknown.as_wire() | {
        "snapmanage:identity": None,
        "snapmanage:created_at": None,
    }


def test_own_fields_are_shown_to_readers() -> None:
    (entry,) = manageable.entries(manageable.assess([examples.found(extra={"lv_attr": "swi---s---"})], Owned()))

    shown = manageable.for_readers(entry.as_wire(own_fields=True))

    assert (shown["snapmanage:identity"], shown["extra_info"]) == ("identity of daily", None)


def test_entry_without_a_volume_has_an_empty_source() -> None:
    (entry,) = manageable.entries(manageable.assess([examples.found(parent=None)], Owned()))

    assert entry.as_wire()["source_reference"] == {}
    assert entry.as_wire()["extra_info"] is None


@pytest.mark.parametrize(
    ("found", "owned", "reason"),
    [
        (examples.found(), Owned({"identity of daily": "7"}, {}), "already managed"),
        (
            examples.found(),
            Owned({}, {Reference.named("daily").text: "7"}),
            "snapshot 7 is managed under this reference",
        ),
        (examples.found(unsafe=Unsafe.IN_USE, unsafe_reason="mounted"), Owned(), "in use: mounted"),
        (examples.found(unsafe=Unsafe.UNUSABLE), Owned(), "unusable"),
        (examples.found(unsafe=Unsafe.IN_USE), Owned({"identity of daily": "7"}, {}), "already managed"),
    ],
)
def test_unsafe_entry_contains_the_reason(found: Any, owned: Owned, reason: str) -> None:
    (entry,) = manageable.entries(manageable.assess([found], owned))

    assert not entry.safe_to_manage
    assert entry.reason_not_safe == reason


def test_volume_is_sent_without_a_source() -> None:
    (entry,) = manageable.entries(manageable.assess([examples.found_volume(extra={"pool_lv": "pool"})], Owned()))

    assert entry.as_wire() == {
        "reference": {"source-name": "disk"},
        "size": 3,
        "safe_to_manage": True,
        "reason_not_safe": None,
        "extra_info": {"pool_lv": "pool"},
        "cinder_id": None,
    }


@pytest.mark.parametrize(
    ("found", "owned", "reason"),
    [
        (examples.found_volume(), Owned({"identity of disk": "7"}, {}), "already managed"),
        (
            examples.found_volume(),
            Owned({}, {Reference.named("disk").text: "7"}),
            "volume 7 is managed under this reference",
        ),
        (examples.found_volume(unsafe=Unsafe.UNUSABLE, unsafe_reason="broken"), Owned(), "unusable: broken"),
    ],
)
def test_unsafe_volume_has_the_reason(found: Any, owned: Owned, reason: str) -> None:
    (entry,) = manageable.entries(manageable.assess([found], owned))

    assert (entry.safe_to_manage, entry.reason_not_safe) == (False, reason)


def test_reason_is_printable_and_the_name_is_exact() -> None:
    odd = examples.found("a\x1b[2J\u202e", unsafe=Unsafe.UNUSABLE, unsafe_reason="its format is raw\nevil\x1b]0;t\a")

    (entry,) = manageable.entries(manageable.assess([odd], Owned()))

    assert entry.reason_not_safe == r"unusable: its format is raw\nevil\x1b]0;t\x07"
    assert entry.as_wire()["reference"] == {"source-name": "a\x1b[2J\u202e"}


def test_entry_names_its_managed_snapshot_only_if_the_identity_matches() -> None:
    owned = Owned({"identity of daily": "7"}, {Reference.named("weekly").text: "8"})

    managed, namesake = manageable.entries(
        manageable.assess([examples.found("daily"), examples.found("weekly")], owned)
    )

    assert (managed.record_id, namesake.record_id) == ("7", None)


def test_listing_is_sorted_by_name_in_descending_order_by_default() -> None:
    assert names_on_page(backend(("a", 1), ("c", 2), ("b", 3)), Page()) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ((("reference", "asc"),), "abcd"),
        ((("size", "asc"), ("reference", "asc")), "bdac"),
        ((("size", "desc"), ("reference", "asc")), "acbd"),
        ((("size", "asc"), ("reference", "desc")), "dbca"),
        ((("size", "asc"),), "bdac"),
    ],
)
def test_listing_is_sorted_by_each_key_in_its_direction_and_then_by_name(sort: Sort, expected: str) -> None:
    unsorted = backend(("c", 2), ("a", 2), ("d", 1), ("b", 1))

    assert "".join(names_on_page(unsorted, Page(sort=sort))) == expected


@pytest.mark.parametrize(
    ("marker", "limit", "offset", "expected"),
    [
        (None, None, 0, "abcde"),
        (None, 2, 0, "ab"),
        (None, 2, 1, "bc"),
        (None, None, 4, "e"),
        (None, None, 9, ""),
        (None, 0, 0, ""),
        ("b", None, 0, "cde"),
        ("b", 1, 0, "c"),
        ("b", 1, 1, "d"),
        ("e", 5, 0, ""),
    ],
)
def test_page_begins_after_marker_and_offset(marker: str | None, limit: int | None, offset: int, expected: str) -> None:
    page = Page(Reference.named(marker) if marker else None, limit, offset, BY_REFERENCE)

    assert "".join(names_on_page(backend(*((name, 1) for name in "edcba")), page)) == expected


@pytest.mark.parametrize("marker", [{"source-name": "gone"}, {"source-id": "a"}, {"source-name": ["a"]}])
def test_marker_that_is_not_in_the_listing_is_refused(marker: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest, match="is not in the listing"):
        names_on_page(backend(("a", 1)), Page(marker=Reference.of(marker)))


@given(sizes=BACKENDS, sort=SORTS, limit=st.integers(1, 5))
def test_successive_pages_of_different_scans_make_the_whole_listing(
    sizes: list[tuple[str, int]], sort: Sort, limit: int
) -> None:
    paged: list[str] = []
    while following := names_on_page(
        backend(*sizes), Page(Reference.named(paged[-1]) if paged else None, limit, 0, sort)
    ):
        paged += following
        sizes = sizes[::-1]

    assert paged == names_on_page(backend(*sizes), Page(sort=sort))


@given(sizes=BACKENDS, sort=SORTS, limit=st.integers(1, 5))
def test_successive_offsets_make_the_whole_listing(sizes: list[tuple[str, int]], sort: Sort, limit: int) -> None:
    paged: list[str] = []
    for start in range(0, len(sizes), limit):
        paged += names_on_page(backend(*sizes), Page(None, limit, start, sort))

    assert paged == names_on_page(backend(*sizes), Page(sort=sort))


OF_VOLUME = examples.available_volume("disk", backend_id="identity of disk")


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), ["Daily", "orphan", "renamed", "undated", "weekly"]),
        (Filters(name_part="LY"), ["Daily", "weekly"]),
        (Filters(volume=OF_VOLUME), ["Daily", "renamed", "undated"]),
        (Filters(created_before=NOW), ["Daily"]),
        (Filters(created_after=NOW - timedelta(hours=1)), ["orphan", "renamed", "weekly"]),
        (Filters(created_after=NOW - timedelta(hours=2), created_before=NOW, name_part="d"), ["Daily"]),
    ],
    ids=["all", "name", "volume", "before", "after", "together"],
)
def test_filters_select_the_matching_snapshots(filters: Filters, expected: list[str]) -> None:
    held = [
        examples.found("Daily", created_at=NOW - timedelta(hours=1)),
        examples.found("weekly", parent="other"),
        examples.found("orphan", parent=None),
        examples.found("renamed", parent="disk's new name", parent_identity="identity of disk"),
        examples.found("undated", created_at=None),
    ]

    assert names_on_page(held, Page(sort=BY_REFERENCE, filters=filters)) == expected


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(selectors=Selectors(min_size=2)), ["b", "c"]),
        (Filters(selectors=Selectors(max_size=2)), ["a", "b"]),
        (Filters(selectors=Selectors(min_size=2, max_size=2)), ["b"]),
        (Filters(selectors=Selectors(max_size=0)), []),
    ],
)
def test_sizes_are_compared_in_gib_inclusively(filters: Filters, expected: list[str]) -> None:
    held = backend(("a", 1), ("b", 2), ("c", 3))

    assert names_on_page(held, Page(sort=BY_REFERENCE, filters=filters)) == expected


def test_marker_that_no_filter_matches_keeps_its_place() -> None:
    page = Page(Reference.named("b"), sort=BY_REFERENCE, filters=Filters(name_part="c"))

    assert names_on_page(backend(("a", 1), ("b", 1), ("c", 1)), page) == ["c"]


@pytest.mark.parametrize(("safe", "expected"), [(True, ["d"]), (False, ["c", "b"])])
def test_page_of_safe_or_unsafe_entries_counts_only_those(safe: bool, expected: list[str]) -> None:
    owned = Owned({"identity of a": "1", "identity of b": "2", "identity of c": "3"}, {})
    offset = 0 if safe else 1
    page = Page(limit=2, offset=offset, sort=BY_REFERENCE, filters=Filters(safe_to_manage=safe))

    shown = manageable.page_by_safety(backend(*((name, 1) for name in "abcd")), owned, page)

    assert [each.found.name for each in shown] == (expected if safe else sorted(expected))


def test_filters_are_the_same_after_a_round_trip_over_the_wire() -> None:
    filters = Filters("part", VOLUME_ID, None, False, NOW, NOW - timedelta(hours=1), Selectors(min_size=0, max_size=7))

    assert Filters.of(json.loads(json.dumps(filters.as_wire()))) == filters
    assert Filters().as_wire() == {}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"name_part": 7}, "name_part"),
        ({"volume": {}}, "volume"),
        ({"created_before": "yesterday"}, "created_before"),
        ({"created_after": 7}, "created_after"),
        ({"min_size": "7"}, "min_size"),
        ({"max_size": True}, "max_size"),
        ({"min_size": None}, "min_size"),
    ],
)
def test_error_for_an_invalid_filter_names_it(given: dict[str, Any], named: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=named):
        Filters.of(given)


def test_time_without_a_zone_is_utc() -> None:
    assert filters.moment("created_before", "2026-03-01T12:30:15.123456") == NOW
    assert filters.moment("created_before", "2026-03-01T13:30:15.123456+01:00") == NOW


def test_page_is_read_from_the_arguments_of_a_call() -> None:
    page = Page.of({"source-name": "daily"}, 10, 5, ["size", "reference"], ["asc", "desc"], {"name_part": "d"})

    sort = (("size", "asc"), ("reference", "desc"))
    assert page == Page(Reference.named("daily"), 10, 5, sort, Filters("d"))


@pytest.mark.parametrize(
    ("keys", "directions", "named"),
    [(["name"], ["asc"], "'name'"), (["size"], ["up"], "'up'"), (["size"], [], "as many"), ([], ["asc"], "as many")],
)
def test_error_for_an_invalid_sort_names_it(keys: list[str], directions: list[str], named: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=named):
        Page.of(None, None, 0, keys, directions, {})
