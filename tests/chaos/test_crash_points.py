"""Each process dies at each of the points between two durable steps, on both databases, and nothing is lost."""

import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from snapmanage.crash import VARIABLE, Point
from tests.chaos import stories
from tests.chaos.fleet import Databases, Fleet, fleet
from tests.chaos.stories import Story
from tests.services.deployment import Daemon
from tests.services.mariadb import MariaDB
from tests.services.postgresql import PostgreSQL
from tests.services.rabbitmq import RabbitMQ
from tests.waiting import until

HOST = "storage-1"
STALLING = str(Path(__file__).with_name("stalling_volume.py"))


@dataclass(frozen=True)
class Visit:
    """A process dies at a point, when it comes there for the nth time, while a story is told."""

    process: str
    point: Point
    story: Callable[[Fleet], Story] = stories.manage
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.process} {self.point.label}:{self.nth} {self.story.__name__}"


VISITS = [
    Visit("api", Point.REQUEST_UNCOMMITTED),
    Visit("api", Point.REQUEST_UNCOMMITTED, stories.unmanage),
    Visit("api", Point.QUOTA_QUEUE_OPENED, stories.manage_in_a_new_project),
    Visit("api", Point.OWED_COMMITTED),
    Visit("api", Point.OWED_COMMITTED, stories.unmanage),
    Visit("api", Point.RELAY_SENDING),
    Visit("api", Point.UNCONFIRMED),
    Visit("api", Point.UNANSWERED),
    Visit("api", Point.UNANSWERED, stories.unmanage),
    Visit("api", Point.UNANSWERED, stories.register),
    Visit("volume", Point.SERVER_ANNOUNCED),
    Visit("volume", Point.RECEIVED),
    Visit("volume", Point.RECEIVED, stories.cast),
    Visit("volume", Point.ACCEPT_UNCOMMITTED),
    Visit("volume", Point.ACCEPT_UNCOMMITTED, stories.cast),
    Visit("volume", Point.ACCEPTED),
    Visit("volume", Point.QUARANTINED, stories.send_garbage),
    Visit("volume", Point.HANDLED, stories.cast),
    Visit("volume", Point.ACKNOWLEDGED, stories.cast),
    Visit("volume", Point.CLAIM_UNCOMMITTED),
    Visit("volume", Point.OWED_COMMITTED),
    Visit("volume", Point.CLAIMED),
    Visit("volume", Point.FOUND),
    Visit("volume", Point.RESOLVE_UNCOMMITTED),
    Visit("volume", Point.RESOLVED),
    Visit("volume", Point.RENAMING),
    Visit("volume", Point.RENAMED),
    Visit("volume", Point.RENAMED, stories.unmanage),
    Visit("volume", Point.RENAME_UNSYNCED),
    Visit("volume", Point.CARRIED_OUT),
    Visit("volume", Point.CARRIED_OUT, stories.unmanage),
    Visit("volume", Point.SETTLE_UNCOMMITTED),
    Visit("volume", Point.OWED_COMMITTED, nth=2),
    Visit("volume", Point.SETTLED),
    Visit("volume", Point.RELAY_SENDING, nth=2),
    Visit("volume", Point.UNCONFIRMED, nth=2),
    Visit("volume", Point.RELAY_CONFIRMED, nth=2),
    Visit("audit", Point.HEARD),
    Visit("audit", Point.AUDIT_UNCOMMITTED),
    Visit("audit", Point.HANDLED),
    Visit("audit", Point.ACKNOWLEDGED),
]
# What a relay finds in the table is what processes without one leave there.
RELAY_VISITS = [
    Visit("relay", point)
    for point in (Point.RELAY_UNCOMMITTED, Point.RELAY_TAKEN, Point.UNCONFIRMED, Point.RELAY_CONFIRMED)
]
DRAIN_VISITS = [Visit("volume", Point.GIVE_BACK_UNCOMMITTED), Visit("volume", Point.GIVEN_BACK)]

# Those of a driver's own steps are visited on its backend, in tests/contract.
DRIVERS_OWN = {Point.PROTECTION_NOTED, Point.UNPROTECTED}


@pytest.fixture(scope="module")
def fleets(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB, postgresql: PostgreSQL
) -> Iterator[list[Fleet]]:
    """One on each database; they are visited side by side."""
    with ExitStack() as stack:
        databases: dict[str, Databases] = {"mariadb": mariadb, "postgresql": postgresql}
        yield [
            stack.enter_context(fleet(tmp_path_factory.mktemp(name), rabbitmq, database, [HOST]))
            for name, database in databases.items()
        ]


@pytest.fixture(scope="module")
def without_relays(fleets: list[Fleet]) -> list[Fleet]:
    """The same, with a relay of its own alone."""
    for each in fleets:
        for name in ("api", HOST):
            each.daemons[name].kill()
            each.daemons[name].start({"OS_RELAY__IN_PROCESS": "false"})
    return fleets


def test_every_point_is_visited() -> None:
    assert {visit.point for visit in VISITS + RELAY_VISITS + DRAIN_VISITS} | DRIVERS_OWN == set(Point)


@pytest.mark.parametrize("visit", VISITS, ids=str)
def test_nothing_is_lost_where_a_process_dies(fleets: list[Fleet], visit: Visit) -> None:
    on_each(fleets, lambda each: die(each, visit))


@pytest.mark.parametrize("visit", DRAIN_VISITS, ids=str)
def test_nothing_is_lost_where_a_server_dies_as_it_gives_back(fleets: list[Fleet], visit: Visit) -> None:
    on_each(fleets, lambda each: die_draining(each, visit))


@pytest.mark.parametrize("visit", RELAY_VISITS, ids=str)
def test_nothing_is_lost_where_a_relay_dies(without_relays: list[Fleet], visit: Visit) -> None:
    on_each(without_relays, lambda each: die(each, visit))


def test_audit_and_quota_agree_with_what_was_carried_out(fleets: list[Fleet]) -> None:
    on_each(fleets, lambda each: each.check_commands())


def on_each(fleets: list[Fleet], act: Callable[[Fleet], None]) -> None:
    with ThreadPoolExecutor(len(fleets)) as pool:
        list(pool.map(act, fleets))


def die(each: Fleet, visit: Visit) -> None:
    daemon = each.daemons[HOST if visit.process == "volume" else visit.process]
    story = visit.story(each)
    daemon.close()
    daemon.launch({VARIABLE: f"{visit.point.label}:{visit.nth}"})
    if visit.point is not Point.SERVER_ANNOUNCED:
        daemon.ready()
    story()
    assert daemon.ended() == -signal.SIGKILL
    recover(each, daemon, story)


def die_draining(each: Fleet, visit: Visit) -> None:
    """A rename that hangs can only be given back."""
    journal = each.folder / f"renames-{uuid.uuid4().hex}"
    daemon = each.daemon("volume", HOST, "stalling", [sys.executable, STALLING, str(journal), "stall"])
    story = stories.manage(each)
    each.daemons[HOST].close()
    daemon.start({VARIABLE: visit.point.label, "OS_OPERATIONS__GRACEFUL_SHUTDOWN_TIMEOUT": "0"})
    story()
    until(lambda: journal.exists() and journal.read_text().endswith("\n"), "the rename to be done")
    daemon.send(signal.SIGTERM)
    assert daemon.ended() == -signal.SIGKILL
    recover(each, each.daemons[HOST], story)


def recover(each: Fleet, daemon: Daemon, story: Story) -> None:
    """Start it again, let the client ask again, and wait until all is well."""
    daemon.start()
    story()
    each.rest()
