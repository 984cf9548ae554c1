"""Lists of a hung backend hold only some threads of the API; the others serve all other requests."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from snapmanage import errors
from snapmanage.api.waiting_lists import ListingLimits, Listings
from snapmanage.drivers.fake import FakeDriver
from tests.functional.client import fault
from tests.functional.world import World, running_world

SERVERS = ("storage-1@one", "storage-1@two", "storage-1@three")
# Far above the time of any request, and far below the time for which a list waits.
QUICK_SECONDS = 10


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Run a world of three backends, whose API has four threads."""
    backends = {server: FakeDriver() for server in SERVERS}
    limits = ListingLimits.of_threads(4)
    with running_world(tmp_path, backends, listing_limits=limits, call_timeout_seconds=60) as made:
        yield made


@contextmanager
def hung_lists(world: World, *servers: str) -> Iterator[list[Future[requests.Response]]]:
    """Begin a list of each server, whose driver hangs until the end of the block."""
    with ThreadPoolExecutor(len(servers)) as pool, ExitStack() as released:
        begun = []
        for server in servers:
            stuck = released.enter_context(world.hang_at("list", of=server))
            client = world.another_client()
            released.callback(client.close)
            begun.append(pool.submit(client.get, "os-snapshot-manage", params={"host": server}))
            stuck.reached()
        yield begun


def test_list_beyond_the_limit_of_a_backend_is_refused_at_once_by_name(world: World) -> None:
    with hung_lists(world, SERVERS[0]):
        began = time.monotonic()

        refused = world.client.get("os-snapshot-manage", params={"host": SERVERS[0]})
        served = world.client.get("os-snapshot-manage", params={"host": SERVERS[1]})

        assert time.monotonic() - began < QUICK_SECONDS
        assert refused.headers["Retry-After"]
        assert fault(refused) == (
            503,
            "serviceUnavailable",
            f"the limit of lists that wait for {SERVERS[0]} is reached (1); its backend may be slow or hang, so try "
            "again later",
        )
        assert served.status_code == 200


def test_lists_of_hung_backends_leave_threads_for_all_other_requests(world: World) -> None:
    with hung_lists(world, *SERVERS[:2]):
        began = time.monotonic()

        refused = world.client.get("os-snapshot-manage", params={"host": SERVERS[2]})
        health = world.client.get("/healthcheck")
        request = world.client.manage_volume("volume-1", SERVERS[2])

        assert time.monotonic() - began < QUICK_SECONDS
        assert all(server in fault(refused)[2] for server in SERVERS)
        assert (refused.status_code, health.status_code, request.status_code) == (503, 200, 202)


def test_list_is_admitted_again_after_the_backend_has_answered(world: World) -> None:
    with hung_lists(world, SERVERS[0]) as begun:
        pass

    assert [each.result(30).status_code for each in begun] == [200]
    assert world.client.get("os-snapshot-manage", params={"host": SERVERS[0]}).status_code == 200


@pytest.mark.parametrize(("threads", "total", "per_server"), [(1, 1, 1), (2, 1, 1), (4, 2, 1), (16, 8, 4)])
def test_lists_hold_at_most_half_of_the_threads(threads: int, total: int, per_server: int) -> None:
    assert ListingLimits.of_threads(threads) == ListingLimits(total, per_server)


def test_failed_list_holds_no_place() -> None:
    listings = Listings(ListingLimits(total=1, per_server=1))

    for _ in range(2):
        with pytest.raises(errors.BackendBusy), listings.admitted(SERVERS[0]):
            raise errors.BackendBusy("locked")
