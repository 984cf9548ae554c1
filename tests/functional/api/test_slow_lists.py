"""Lists of records that are slow in the database hold only some threads of the API; quick ones wait for each other."""

import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.api import pages
from snapmanage.api.request import Answer
from snapmanage.api.waiting_lists import Searches, SearchLimits
from snapmanage.manage import queries
from snapmanage.store.engine import time_limits
from tests.functional.callers import by_token, token
from tests.functional.client import PROJECT, fault
from tests.functional.world import OTHER_PROJECT, World, running_world

LATEST = "3.71"


@pytest.fixture
def searches() -> Searches:
    """Return places for two lists, one of them for each project, where every list is slow."""
    return Searches(SearchLimits(total=2, per_project=1), slow_seconds=0)


@pytest.fixture
def world(tmp_path: Path, searches: Searches) -> Iterator[World]:
    with running_world(tmp_path, searches=searches) as made:
        yield made


@pytest.mark.parametrize("path", ["snapshots", "snapshots/detail", "volumes", "volumes/detail", "messages"])
def test_list_is_refused_while_slow_lists_of_its_project_hold_their_places(
    world: World, searches: Searches, path: str
) -> None:
    with searches.admitted(PROJECT):
        refused = world.client.get(path, version=LATEST)
        health = world.client.get("/healthcheck")
        request = world.client.manage_volume("volume-1")
    served = world.client.get(path, version=LATEST)

    assert refused.headers["Retry-After"]
    assert fault(refused) == (
        503,
        "serviceUnavailable",
        "too many slow lists are in progress; try again later, and use fewer filters or shorter pages",
    )
    assert (health.status_code, request.status_code, served.status_code) == (200, 202, 200)


@pytest.mark.parametrize("path", ["snapshots", "snapshots/detail", "volumes", "volumes/detail", "messages"])
def test_list_that_takes_the_database_too_long_is_ended(
    world: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "LIST_SECONDS", 0)
    monkeypatch.setattr(time_limits, "SQLITE_STEPS", 1)

    ended = world.client.get(path, version=LATEST)
    shown = world.client.get("snapshots/unknown")

    assert ended.headers["Retry-After"]
    assert fault(ended) == (
        503,
        "serviceUnavailable",
        "the database worked on the list for 0 s; use fewer filters or shorter pages",
    )
    assert shown.status_code == 404


@pytest.mark.parametrize("path", ["snapshots", "snapshots/detail", "volumes", "volumes/detail", "messages"])
def test_list_holds_its_place_until_its_answer_is_made(
    world: World, searches: Searches, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page(*_: Any) -> Answer:
        with pytest.raises(errors.SlowList), searches.admitted(PROJECT):
            pass
        return Answer(200, b"made")

    monkeypatch.setattr(pages, "page", page)

    assert world.client.get(path, version=LATEST).content == b"made"


def test_reader_learns_why_the_list_is_refused(tmp_path: Path, searches: Searches) -> None:
    with running_world(tmp_path, authenticate=by_token(), searches=searches) as world, searches.admitted(PROJECT):
        refused = world.client.get("snapshots", headers=token("reader", PROJECT))

    assert fault(refused)[2].startswith("too many slow lists are in progress")


def test_project_with_slow_lists_leaves_places_for_others(searches: Searches) -> None:
    with ExitStack() as held:
        held.enter_context(searches.admitted(PROJECT))
        held.enter_context(searches.admitted(OTHER_PROJECT))

        with pytest.raises(errors.Unavailable):
            held.enter_context(searches.admitted("a third project"))


def test_list_waits_for_a_quick_one() -> None:
    searches = Searches(SearchLimits(total=1, per_project=1), slow_seconds=60, quick_seconds=60)

    def search(project_id: str) -> float:
        with searches.admitted(project_id):
            time.sleep(0.001)  # the work of a quick list
            return time.monotonic()

    with ThreadPoolExecutor(8) as threads:
        ended = list(threads.map(search, [PROJECT, OTHER_PROJECT] * 8))

    assert len(set(ended)) == 16


def test_failed_list_holds_no_place(searches: Searches) -> None:
    for _ in range(2):
        with pytest.raises(errors.InvalidRequest), searches.admitted(PROJECT):
            raise errors.InvalidRequest("marker x could not be found")


def test_lists_that_wait_for_a_place_leave_threads_for_other_requests() -> None:
    """Lists of just below two seconds each are not slow, but the waiting ones of a flood would hold all threads."""
    searches = Searches(SearchLimits(total=2, per_project=1, waiting=1), slow_seconds=60, quick_seconds=0)

    def search() -> None:
        with searches.admitted(PROJECT):
            pass

    with ThreadPoolExecutor(2) as threads:
        with searches.admitted(PROJECT):
            attempts = [threads.submit(search) for _ in range(2)]
            refused, waiting = wait(attempts, timeout=30, return_when=FIRST_COMPLETED)
        [served] = waiting

        assert isinstance(refused.pop().exception(), errors.Unavailable)
        assert served.exception(timeout=30) is None


@pytest.mark.parametrize(
    ("threads", "total", "per_project", "waiting"), [(1, 1, 1, 1), (2, 1, 1, 1), (4, 3, 2, 1), (16, 12, 8, 2)]
)
def test_slow_lists_hold_at_most_three_quarters_of_the_threads(
    threads: int, total: int, per_project: int, waiting: int
) -> None:
    assert SearchLimits.of_process(threads, connections=20) == SearchLimits(total, per_project, waiting)


@pytest.mark.parametrize(("connections", "total", "per_project"), [(20, 15, 10), (8, 6, 4), (2, 1, 1)])
def test_slow_lists_leave_connections_of_the_database_for_other_requests(
    connections: int, total: int, per_project: int
) -> None:
    assert SearchLimits.of_process(48, connections) == SearchLimits(total, per_project, waiting=6)
