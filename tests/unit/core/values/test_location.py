"""Locations of backends: host, backend and pool."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core.values.location import Location

PARTS = st.text(st.characters(exclude_characters="@#", exclude_categories=["Cs"]), min_size=1)


@given(host=PARTS, backend=PARTS, pool=st.none() | PARTS)
def test_text_of_a_location_parses_to_the_same_location(host: str, backend: str, pool: str | None) -> None:
    location = Location(host, backend, pool)

    assert Location.parse(str(location)) == location


def test_server_is_the_location_without_its_pool() -> None:
    assert Location.parse("storage-1@fast#pool").server == "storage-1@fast"


@pytest.mark.parametrize("text", ["", "storage-1", "@fast", "storage-1@", "#pool", "storage-1#pool", "a@b@c", "@#"])
def test_location_without_host_and_backend_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="host@backend"):
        Location.parse(text)


def test_empty_pool_is_no_pool() -> None:
    assert Location.parse("storage-1@fast#") == Location("storage-1", "fast")
