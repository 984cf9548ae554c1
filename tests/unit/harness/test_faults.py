"""The choice of a storm's faults."""

from tests.chaos.storm.faults import FAULTS, draw_faults

KINDS = len(FAULTS)


def test_same_seed_draws_the_same_faults() -> None:
    assert draw_faults("1.0", 100) == draw_faults("1.0", 100)
    assert draw_faults("1.0", 100) != draw_faults("1.1", 100)


def test_longer_storm_begins_like_a_shorter_one() -> None:
    assert draw_faults("1.0", 100)[:50] == draw_faults("1.0", 50)


def test_no_kind_is_drawn_again_before_all_have_been_drawn() -> None:
    drawn = draw_faults("1.0", 3 * KINDS)

    for first in range(0, len(drawn), KINDS):
        assert set(drawn[first : first + KINDS]) == set(FAULTS)


def test_kinds_are_distinct() -> None:
    assert len(set(FAULTS)) == KINDS


def test_number_of_drawn_faults_is_the_required_number() -> None:
    assert [len(draw_faults("1.0", number)) for number in (0, 1, KINDS, KINDS + 1)] == [0, 1, KINDS, KINDS + 1]
