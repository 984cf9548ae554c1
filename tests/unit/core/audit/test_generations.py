"""A set of generations is written as ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core.audit.generations import NONE, Generations

NUMBERS = st.sets(st.integers(1, 30))


@given(NUMBERS, NUMBERS)
def test_set_has_the_generations_that_were_added(first: set[int], second: set[int]) -> None:
    made = NONE.with_each(first).with_each(second)

    assert {each for each in range(40) if each in made} == first | second
    assert made.highest == max(first | second, default=0)
    assert Generations.parse(str(made)) == made


def test_consecutive_generations_are_one_range() -> None:
    assert str(NONE.with_each([4, 1, 2, 3, 6])) == "1-4,6"


@pytest.mark.parametrize("text", ["x", "1-x", "1,,2", "-"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="ranges such as"):
        Generations.parse(text)
