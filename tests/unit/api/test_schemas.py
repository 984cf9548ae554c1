"""Query parameters at their limits."""

import pytest

from snapmanage.api import schemas


@pytest.mark.parametrize(
    ("limit", "entries"), [({}, 1000), ({"limit": "999"}, 999), ({"limit": "1000"}, 1000), ({"limit": "1001"}, 1000)]
)
def test_limit_of_a_page_is_reduced_to_that_of_the_service(limit: dict[str, str], entries: int) -> None:
    assert schemas.limit(limit, 1000) == entries
