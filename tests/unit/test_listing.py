"""What could be managed: marked, sorted and paged."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core import listing
from snapmanage.core.backend import GIB, Unsafe
from snapmanage.core.listing import Manageable, Owned, Page
from snapmanage.core.reference import Reference
from tests import examples

BY_REFERENCE = (("reference", "asc"),)
SORTS = st.lists(
    st.tuples(st.sampled_from(listing.SORT_KEYS), st.sampled_from(listing.SORT_DIRECTIONS)), min_size=1, max_size=3
)
BACKENDS = st.lists(
    st.tuples(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 3)),
    unique_by=lambda each: each[0],
    max_size=12,
)


def entries(*sizes: tuple[str, int]) -> list[Manageable]:
    return listing.manageable([examples.found(name, size_bytes=size * GIB) for name, size in sizes], Owned())


def names(page: list[Manageable]) -> list[str]:
    return [entry.reference.name() for entry in page]


def test_safe_entry_goes_over_the_wire_with_every_field() -> None:
    (entry,) = listing.manageable([examples.found(extra={"lv_attr": "swi---s---"})], Owned())

    assert entry.as_wire() == {
        "reference": {"source-name": "daily"},
        "size": 3,
        "safe_to_manage": True,
        "source_reference": {"source-name": "disk"},
        "reason_not_safe": None,
        "extra_info": {"lv_attr": "swi---s---"},
        "cinder_id": None,
    }


def test_entry_without_a_volume_has_an_empty_source() -> None:
    (entry,) = listing.manageable([examples.found(parent=None)], Owned())

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
def test_unsafe_entry_says_why(found: Any, owned: Owned, reason: str) -> None:
    (entry,) = listing.manageable([found], owned)

    assert not entry.safe_to_manage
    assert entry.reason_not_safe == reason


def test_managed_entry_tells_its_snapshot_by_identity_only() -> None:
    owned = Owned({"identity of daily": "7"}, {Reference.named("weekly").text: "8"})

    managed, namesake = listing.manageable([examples.found("daily"), examples.found("weekly")], owned)

    assert (managed.snapshot_id, namesake.snapshot_id) == ("7", None)


def test_listing_begins_with_the_last_name_unless_asked_otherwise() -> None:
    assert names(listing.page(entries(("a", 1), ("c", 2), ("b", 3)), Page())) == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ([("reference", "asc")], "abcd"),
        ([("size", "asc"), ("reference", "asc")], "bdac"),
        ([("size", "desc"), ("reference", "asc")], "acbd"),
        ([("size", "asc"), ("reference", "desc")], "dbca"),
    ],
)
def test_listing_is_sorted_by_each_key_in_its_direction(sort: list[tuple[str, str]], expected: str) -> None:
    unsorted = entries(("c", 2), ("a", 2), ("d", 1), ("b", 1))

    assert "".join(names(listing.page(unsorted, Page(sort=sort)))) == expected


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
    wanted = Page(Reference.named(marker) if marker else None, limit, offset, BY_REFERENCE)

    page = listing.page(entries(*((name, 1) for name in "edcba")), wanted)

    assert "".join(names(page)) == expected


def test_marker_that_is_gone_is_refused_by_name() -> None:
    with pytest.raises(errors.InvalidRequest, match="gone"):
        listing.page(entries(("a", 1)), Page(marker=Reference.named("gone")))


@given(backend=BACKENDS, sort=SORTS, limit=st.integers(1, 5))
def test_pages_one_after_another_are_the_whole_listing(
    backend: list[tuple[str, int]], sort: list[tuple[str, str]], limit: int
) -> None:
    whole = entries(*backend)

    paged: list[Manageable] = []
    while page := listing.page(whole, Page(paged[-1].reference if paged else None, limit, 0, sort)):
        paged += page

    assert paged == listing.page(whole, Page(sort=sort))


@given(backend=BACKENDS, sort=SORTS, limit=st.integers(1, 5))
def test_offsets_one_after_another_are_the_whole_listing(
    backend: list[tuple[str, int]], sort: list[tuple[str, str]], limit: int
) -> None:
    whole = entries(*backend)

    paged: list[Manageable] = []
    for start in range(0, len(whole), limit):
        paged += listing.page(whole, Page(None, limit, start, sort))

    assert paged == listing.page(whole, Page(sort=sort))


def test_page_is_read_from_the_arguments_of_a_call() -> None:
    wanted = Page.of({"source-name": "daily"}, 10, 5, ["size", "reference"], ["asc", "desc"])

    assert wanted == Page(Reference.named("daily"), 10, 5, (("size", "asc"), ("reference", "desc")))


def test_call_without_arguments_asks_for_everything() -> None:
    assert Page.of(None, None, 0, (), ()) == Page()


@pytest.mark.parametrize(
    ("keys", "directions", "named"),
    [(["name"], ["asc"], "'name'"), (["size"], ["up"], "'up'"), (["size"], [], "as many"), ([], ["asc"], "as many")],
)
def test_bad_sort_is_refused_by_name(keys: list[str], directions: list[str], named: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=named):
        Page.of(None, None, 0, keys, directions)
