"""Projects that wait are served by turns."""

from snapmanage.volume.fairness import AT_ONCE, MOST, ProjectRoundRobin


def waiting(*projects: str) -> ProjectRoundRobin:
    turns = ProjectRoundRobin()
    turns.wait(projects)
    return turns


def test_who_waits_alone_needs_no_turn() -> None:
    turns = waiting("a")

    assert turns.next(9) == []
    turns.wait("b")
    assert turns.next(9) == ["a", "b"]


def test_who_was_served_waits_behind_the_others() -> None:
    turns = waiting("a", "b", "c")

    assert turns.next(1) == ["a"]
    turns.wait("a")

    assert turns.next(9) == ["b", "c", "a"]
    assert turns.next(9) == []


def test_who_waits_already_keeps_the_place() -> None:
    turns = waiting("a", "b")
    turns.wait("ba")

    assert turns.next(9) == ["a", "b"]


def test_no_more_are_served_at_once_than_there_is_room_for() -> None:
    turns = waiting(*"abcdefgh")

    assert turns.next(0) == []
    assert turns.next(2) == ["a", "b"]
    assert turns.next(99) == ["c", "d", "e", "f"][:AT_ONCE]


def test_memory_is_bounded() -> None:
    turns = waiting(*(str(number) for number in range(MOST + 10)))

    served = [project for _ in range(MOST) for project in turns.next(AT_ONCE)]

    assert len(served) == MOST
