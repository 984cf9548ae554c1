"""The round robin of projects."""

from snapmanage.volume.fairness import MAX_PROJECTS, SHARES_PER_CLAIM, ProjectRoundRobin


def queue_projects(*projects: str) -> ProjectRoundRobin:
    round_robin = ProjectRoundRobin()
    round_robin.add(projects)
    return round_robin


def test_single_project_gets_no_share() -> None:
    round_robin = queue_projects("a")

    assert round_robin.take_next(9) == []
    round_robin.add("b")
    assert round_robin.take_next(9) == ["a", "b"]


def test_served_project_is_queued_behind_the_others() -> None:
    round_robin = queue_projects("a", "b", "c")

    assert round_robin.take_next(1) == ["a"]
    round_robin.add("a")

    assert round_robin.take_next(9) == ["b", "c", "a"]
    assert round_robin.take_next(9) == []


def test_queued_project_keeps_its_place() -> None:
    round_robin = queue_projects("a", "b")
    round_robin.add("ba")

    assert round_robin.take_next(9) == ["a", "b"]


def test_number_of_projects_served_at_once_is_limited() -> None:
    round_robin = queue_projects(*"abcdefgh")

    assert round_robin.take_next(0) == []
    assert round_robin.take_next(2) == ["a", "b"]
    assert round_robin.take_next(99) == ["c", "d", "e", "f"][:SHARES_PER_CLAIM]


def test_memory_is_bounded() -> None:
    round_robin = queue_projects(*(str(number) for number in range(MAX_PROJECTS + 10)))

    served = [project for _ in range(MAX_PROJECTS) for project in round_robin.take_next(SHARES_PER_CLAIM)]

    assert len(served) == MAX_PROJECTS
