"""Lists of manageable snapshots at their limits."""

from itertools import product

import pytest

from snapmanage import errors
from snapmanage.core.lists import sorting
from snapmanage.core.lists.filters import Filters, Page
from snapmanage.core.lists.inventory import Inventory
from snapmanage.core.lists.sorting import SORT_DIRECTIONS, SORT_KEYS
from tests import examples


@pytest.mark.parametrize("limit", [None, 10_001, 10_002, 10**9])
def test_answer_to_a_call_has_at_most_ten_thousand_entries_and_one(limit: int | None) -> None:
    assert Page.of(None, limit, 0, (), (), {}) == Page(limit=10_001)


@pytest.mark.parametrize(
    ("keys", "order"),
    [
        (["size:asc"], [("size", "asc"), ("reference", "asc")]),
        (["size:desc", "size:asc", "reference:desc"], [("size", "desc"), ("reference", "desc")]),
        (["reference:asc", "size:asc", "reference:desc"], [("reference", "asc")]),
        ([], [("reference", "desc")]),
    ],
)
def test_key_that_has_no_effect_is_left_out_of_the_order(keys: list[str], order: list[tuple[str, str]]) -> None:
    pairs = [key.split(":") for key in keys]

    assert list(sorting.order([key for key, _ in pairs], [direction for _, direction in pairs])) == order


def test_scan_keeps_six_orders_whatever_a_client_requires() -> None:
    inventory = Inventory([examples.found("a"), examples.found("b")])
    pairs = list(product(SORT_KEYS, SORT_DIRECTIONS))

    for number in range(1, 5):
        for chosen in product(pairs, repeat=number):
            keys, directions = zip(*chosen, strict=True)
            assert len(list(inventory.candidates(Page.of(None, 1, 0, keys, directions, {})))) == 2

    assert inventory.orders == 6


def test_part_of_a_name_has_at_most_255_characters() -> None:
    assert Filters.of({"name_part": "x" * 255}).name_part == "x" * 255
    with pytest.raises(errors.InvalidRequest, match="name~ has 256 characters; the limit is 255"):
        Filters.of({"name_part": "x" * 256})
