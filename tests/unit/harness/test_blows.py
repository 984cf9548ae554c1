"""Which blows fall in a storm."""

from tests.chaos.blows import BLOWS, deal

KINDS = len(BLOWS)


def test_the_same_seed_deals_the_same_blows() -> None:
    assert deal("1.0", 100) == deal("1.0", 100)
    assert deal("1.0", 100) != deal("1.1", 100)


def test_a_longer_storm_begins_as_a_shorter_one() -> None:
    assert deal("1.0", 100)[:50] == deal("1.0", 50)


def test_every_kind_comes_before_any_comes_again() -> None:
    dealt = deal("1.0", 3 * KINDS)

    for first in range(0, len(dealt), KINDS):
        assert set(dealt[first : first + KINDS]) == set(BLOWS)


def test_each_kind_is_there_once() -> None:
    assert len(set(BLOWS)) == KINDS


def test_no_more_are_dealt_than_asked_for() -> None:
    assert [len(deal("1.0", number)) for number in (0, 1, KINDS, KINDS + 1)] == [0, 1, KINDS, KINDS + 1]
