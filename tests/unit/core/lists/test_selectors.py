"""Selectors of manageable snapshots."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core.backend import GIB
from snapmanage.core.lists.filters import Filters
from snapmanage.core.lists.selectors import Selectors
from snapmanage.core.origins.protection import BackendOrigins
from snapmanage.core.origins.table import KNOWN
from tests import examples

GLOBS = st.text("a*?[]!-b", min_size=1, max_size=20).filter(lambda glob: glob.count("*") <= 8)
EVERY = {
    "name": "disk-*",
    "source_volume": "d*",
    "origin": "sanoid",
    "class": "daily",
    "min_size": 0,
    "max_size": 9,
    "orphans": False,
}


@pytest.mark.parametrize(
    ("selectors", "selected"),
    [
        (Selectors(), True),
        (Selectors(name="disk-1@*"), True),
        (Selectors(name="disk-?@[cd]aily"), True),
        (Selectors(name="*daily"), True),
        (Selectors(name="daily"), False),
        (Selectors(name="DISK*"), False),
        (Selectors(source_volume="disk-*"), True),
        (Selectors(source_volume="disk"), False),
        (Selectors(min_size=3), True),
        (Selectors(min_size=4), False),
        (Selectors(max_size=3), True),
        (Selectors(max_size=2), False),
        (Selectors(orphans=False), True),
        (Selectors(orphans=True), False),
        (Selectors(name="disk*", min_size=1, max_size=2), False),
    ],
)
def test_entry_is_selected(selectors: Selectors, selected: bool) -> None:
    assert selectors.select("disk-1@daily", 3, "disk-1") is selected


def test_orphan_has_no_source_volume() -> None:
    assert Selectors(orphans=True).select("x", 1, None)
    assert not Selectors(orphans=False).select("x", 1, None)
    assert not Selectors(source_volume="*").select("x", 1, None)


@pytest.mark.parametrize(
    ("selectors", "selected"),
    [
        (Selectors(origin="Sanoid"), True),
        (Selectors(origin="syncoid"), False),
        (Selectors(class_name="daily"), True),
        (Selectors(origin="sanoid", class_name="weekly"), False),
    ],
)
def test_origin_is_selected(selectors: Selectors, selected: bool) -> None:
    assert selectors.need_origin
    assert selectors.select_origin("sanoid", "daily") is selected
    assert not selectors.select_origin(None, None)


def test_selectors_survive_the_wire() -> None:
    assert Selectors.of(EVERY).as_wire() == EVERY
    assert Selectors().as_wire() == {}
    assert Filters.of(EVERY | {"name_part": "x"}).as_wire() == EVERY | {"name_part": "x"}


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ({"name": 7}, "name must be of the type str, not 7"),
        ({"min_size": "7"}, "min_size must be of the type int, not '7'"),
        ({"max_size": True}, "max_size must be of the type int, not True"),
        ({"orphans": 1}, "orphans must be of the type bool, not 1"),
        ({"name": ""}, "name must have 1 to 255 characters, not 0"),
        ({"source_volume": "x" * 256}, "source_volume must have 1 to 255 characters, not 256"),
        ({"name": "*" * 9}, "name has 9 *; the limit is 8"),
        ({"origin": "x" * 256}, "origin has 256 characters; the limit is 255"),
    ],
)
def test_wrong_selector_is_refused(given_: dict[str, Any], text: str) -> None:
    with pytest.raises(errors.InvalidRequest) as refusal:
        Selectors.of(given_)

    assert text in str(refusal.value)


@given(GLOBS, st.text("ab", max_size=30))
def test_every_glob_can_be_compared(glob: str, name: str) -> None:
    assert Selectors(name=glob).select(name, 1, None) in (True, False)


def test_hostile_glob_takes_no_long_time() -> None:
    begun = time.process_time()

    Selectors(name="*a" * 8 + "b").select("a" * 4096, 1, None)

    assert time.process_time() - begun < 0.1


def test_filters_read_the_origin_only_where_it_matters() -> None:
    daily = examples.found(name="v@autosnap_2026-07-30_10:00:01_daily", parent="v", size_bytes=GIB)
    origins = BackendOrigins(KNOWN, "zfs")

    assert Filters(selectors=Selectors(origin="sanoid", class_name="daily")).passes(daily, origins.of)
    assert not Filters(selectors=Selectors(class_name="weekly")).passes(daily, origins.of)
    other = examples.found(name="v@daily", parent="v")
    assert not Filters(selectors=Selectors(origin="sanoid")).passes(other, origins.of)
