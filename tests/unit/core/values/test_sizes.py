"""Pages that end at a number of characters or bytes."""

import pytest

from snapmanage.core.values.sizes import fitting

ENTRIES = [("a", 5), ("b", 3), ("c", 4), ("d", 0)]


@pytest.mark.parametrize(
    ("most", "ids"), [(0, ["a"]), (5, ["a"]), (8, ["a", "b"]), (11, ["a", "b"]), (12, ["a", "b", "c", "d"])]
)
def test_page_has_the_first_entries_that_fit_and_at_least_one(most: int, ids: list[str]) -> None:
    assert fitting(ENTRIES, most) == ids


def test_page_without_entries_stays_empty() -> None:
    assert fitting([], 8) == []
