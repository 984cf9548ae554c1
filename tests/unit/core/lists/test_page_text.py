"""The text of a page has exactly the entries that the API makes of a server's entries."""

import base64
import json
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.bus import envelope
from snapmanage.core.backend import GIB, BackendSnapshot, BackendVolume, Unsafe
from snapmanage.core.lists import manageable, page_text
from snapmanage.core.lists.manageable import Assessment
from snapmanage.core.lists.page_text import Fields, PageText
from snapmanage.core.origins.patterns import Origin, Rename
from tests import examples

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.sampled_from(
    ['a"b', "a\\b", "\x7f", "\u2028", "\U0001f4be", "'", "<b>", "a\nb\tc"]
)
REASONS = st.sampled_from(
    ["already managed", "in use: mounted", "unusable", "origin refuses: it breaks", 'odd "\u202e"']
)
TIMES = st.none() | st.just(datetime(2026, 11, 1, 12, tzinfo=UTC))
EXTRA = st.dictionaries(NAMES | st.just("origin"), NAMES, max_size=2)
VOLUMES = st.builds(BackendVolume, NAMES, NAMES | st.just(""), st.integers(0, 9 * GIB), TIMES, extra=EXTRA)
SNAPSHOTS = st.builds(
    BackendSnapshot, NAMES, NAMES, st.integers(0, 9 * GIB), st.none() | NAMES, created_at=TIMES, extra=EXTRA
)
ORIGINS = st.none() | st.just(Origin("sanoid", "daily", None, Rename.WARN, "it is not pruned"))


def assessments(found: Any) -> Any:
    return st.builds(Assessment, found, st.none() | NAMES, st.none() | REASONS, ORIGINS)


def shown(assessed: Assessment, fields: Fields, own_fields: bool) -> dict[str, Any]:
    """Return the entry that the API makes of the entry of a server without texts."""
    (entry,) = manageable.entries([assessed])
    wire = entry.as_wire(own_fields)
    source = ("source_reference",) if isinstance(assessed.found, BackendSnapshot) else ()
    names = (*manageable.SUMMARY, *source)
    if fields is Fields.SUMMARY:
        return {name: wire[name] for name in names}
    more = (*manageable.DETAILS, *(manageable.OWN_FIELDS if own_fields else ()))
    view = {name: wire[name] for name in (*names, *more)}
    return manageable.for_readers(view) if fields is Fields.READERS else view


@given(
    st.lists(assessments(SNAPSHOTS), max_size=3) | st.lists(assessments(VOLUMES), max_size=3),
    st.sampled_from(Fields),
    st.booleans(),
)
def test_text_is_the_json_of_the_entries(page: list[Assessment], fields: Fields, own_fields: bool) -> None:
    text = PageText.of(page, False, fields, own_fields)

    own = own_fields and fields is not Fields.SUMMARY
    assert text.entries == json.dumps([shown(each, fields, own) for each in page])


def test_reader_gets_neither_ids_nor_details_of_the_backend() -> None:
    found = examples.found(unsafe=Unsafe.IN_USE, extra={"lv_attr": "swi---s---"})
    page = [Assessment(found, "7", "in use: mounted on /srv/secret", None)]

    text = PageText.of(page, False, Fields.READERS).entries

    assert json.loads(text)[0] | {"reference": None, "source_reference": None} == {
        "reference": None,
        "size": 3,
        "safe_to_manage": False,
        "source_reference": None,
        "reason_not_safe": "in use",
        "extra_info": None,
        "cinder_id": None,
    }


@pytest.mark.parametrize(
    "page", [[], manageable.assess([examples.found("a"), examples.found("b")], manageable.Owned())]
)
@pytest.mark.parametrize("has_next", [True, False])
def test_text_is_unchanged_after_a_round_trip_over_the_wire(page: list[Assessment], has_next: bool) -> None:
    text = PageText.of(page, has_next, Fields.DETAIL)

    assert PageText.of_wire(json.loads(json.dumps(text.as_wire()))) == text


def test_text_is_limited_like_a_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    assert page_text.LARGEST == envelope.LARGEST_REPLY
    monkeypatch.setattr(page_text, "LARGEST", 10)

    with pytest.raises(errors.InvalidRequest, match="has 11 bytes, and the limit is 10; request a shorter list"):
        PageText("[" + " " * 9 + "]").as_wire()


def packed(text: bytes) -> str:
    return base64.b64encode(zlib.compress(text)).decode()


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"entries": packed(b"[]"), "last": None},
        {"entries": packed(b"[]"), "last": "a", "has_next": False},
        {"entries": packed(b"[]"), "last": None, "has_next": 1},
        {"entries": "[]", "last": None, "has_next": False},
        {"entries": "é", "last": None, "has_next": False},
        {"entries": packed(b"[]")[:-4], "last": None, "has_next": False},
        {"entries": packed(b'{"a": 1}'), "last": None, "has_next": False},
        {"entries": packed("[\xe9]".encode()), "last": None, "has_next": False},
        {"entries": packed(b"[" + b" " * page_text.LARGEST + b"]"), "last": None, "has_next": False},
    ],
)
def test_other_answer_is_no_text(answer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="this is no text of a page"):
        PageText.of_wire(answer)


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(errors.InvalidRequest, match="text must be one of summary, detail, readers, not 'all'"):
        Fields.of("all")
