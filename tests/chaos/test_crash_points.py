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
from snapmanage.testing.services.deployment import Daemon
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.chaos import invariants, stories
from tests.chaos.fleet import BIN, Databases, Fleet, fleet
from tests.chaos.stories import Story

HOST = "storage-1"
STALLING = str(Path(__file__).with_name("stalling_volume.py"))


@dataclass(frozen=True)
class Visit:
    """A process dies at a point, when it comes there for the nth time, while a story is told.

    One that died `before`, at another point, left a message in its hands that comes again.
    """

    process: str
    point: Point
    story: Callable[[Fleet], Story] = stories.manage
    nth: int = 1
    before: Point | None = None

    def __str__(self) -> str:
        return f"{self.process} {self.point.label}:{self.nth} {self.story.__name__}"


VISITS = [
    Visit("api", Point.REQUEST_UNCOMMITTED),
    Visit("api", Point.REQUEST_UNCOMMITTED, stories.unmanage),
    Visit("api", Point.REQUEST_UNCOMMITTED, stories.register),
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
    Visit("volume", Point.ACCEPT_UNCOMMITTED, stories.unmanage),
    Visit("volume", Point.ACCEPT_UNCOMMITTED, stories.register),
    Visit("volume", Point.ACCEPTED),
    Visit("volume", Point.QUARANTINED, stories.send_garbage),
    Visit("volume", Point.SUSPECTED, stories.cast, before=Point.RECEIVED),
    Visit("volume", Point.SUSPECT_HANDLED, stories.cast, before=Point.RECEIVED),
    Visit("volume", Point.HANDLED, stories.cast),
    Visit("volume", Point.ACKNOWLEDGED, stories.cast),
    Visit("volume", Point.CLAIM_UNCOMMITTED),
    Visit("volume", Point.CLAIM_UNCOMMITTED, stories.unmanage),
    Visit("volume", Point.CLAIM_UNCOMMITTED, stories.register),
    Visit("volume", Point.OWED_COMMITTED),
    Visit("volume", Point.CLAIMED),
    Visit("volume", Point.CLAIMED, stories.register),
    Visit("volume", Point.FOUND),
    Visit("volume", Point.RESOLVE_UNCOMMITTED),
    Visit("volume", Point.RESOLVED),
    Visit("volume", Point.RENAMING),
    Visit("volume", Point.RENAMING, stories.unmanage),
    Visit("volume", Point.RENAMED),
    Visit("volume", Point.RENAMED, stories.unmanage),
    Visit("volume", Point.RENAME_UNSYNCED),
    Visit("volume", Point.RENAME_UNSYNCED, stories.unmanage),
    Visit("volume", Point.CARRIED_OUT),
    Visit("volume", Point.CARRIED_OUT, stories.unmanage),
    Visit("volume", Point.SETTLE_UNCOMMITTED),
    Visit("volume", Point.SETTLE_UNCOMMITTED, stories.unmanage),
    Visit("volume", Point.SETTLE_UNCOMMITTED, stories.register),
    Visit("volume", Point.OWED_COMMITTED, nth=2),
    Visit("volume", Point.SETTLED),
    Visit("volume", Point.RELAY_SENDING, stories.manage_another, nth=2),
    Visit("volume", Point.UNCONFIRMED, stories.manage_another, nth=2),
    Visit("volume", Point.RELAY_CONFIRMED, stories.manage_another, nth=2),
    Visit("audit", Point.HEARD),
    Visit("audit", Point.AUDIT_UNCOMMITTED),
    Visit("audit", Point.QUARANTINED, stories.announce_garbage),
    Visit("audit", Point.SUSPECTED, before=Point.HEARD),
    Visit("audit", Point.SUSPECT_HANDLED, before=Point.HEARD),
    Visit("audit", Point.HANDLED),
    Visit("audit", Point.ACKNOWLEDGED),
]
# What a relay finds in the table is what processes without one leave there.
RELAY_VISITS = [
    Visit("relay", point)
    for point in (Point.RELAY_UNCOMMITTED, Point.RELAY_TAKEN, Point.UNCONFIRMED, Point.RELAY_CONFIRMED)
]
DRAIN_VISITS = [Visit("volume", Point.GIVE_BACK_UNCOMMITTED), Visit("volume", Point.GIVEN_BACK)]
RETRY_VISIT = Visit("manage", Point.SENT_AGAIN)
# Processes come there on their own as they start, perhaps before they say that they are ready.
WHILE_STARTING = {Point.SERVER_ANNOUNCED, Point.SUSPECTED, Point.SUSPECT_HANDLED}

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
    visits = [*VISITS, *RELAY_VISITS, *DRAIN_VISITS, RETRY_VISIT]
    assert {visit.point for visit in visits} | DRIVERS_OWN == set(Point)


@pytest.mark.parametrize("visit", VISITS, ids=str)
def test_nothing_is_lost_where_a_process_dies(fleets: list[Fleet], visit: Visit) -> None:
    on_each(fleets, lambda each: die(each, visit))


@pytest.mark.parametrize("visit", DRAIN_VISITS, ids=str)
def test_nothing_is_lost_where_a_server_dies_as_it_gives_back(fleets: list[Fleet], visit: Visit) -> None:
    on_each(fleets, lambda each: die_draining(each, visit))


def test_nothing_is_lost_where_the_command_that_sends_again_dies(fleets: list[Fleet]) -> None:
    on_each(fleets, die_sending_again)


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
    if visit.before:
        die_at(each, daemon, visit.before, 1, story)
    die_at(each, daemon, visit.point, visit.nth, story, redelivered=bool(visit.before))
    recover(each, daemon, story)


def die_at(each: Fleet, daemon: Daemon, point: Point, nth: int, story: Story, redelivered: bool = False) -> None:
    """Start a process that dies at a point; a redelivered message may kill it before it is ready."""
    daemon.close()
    daemon.launch({VARIABLE: f"{point.label}:{nth}"})
    if redelivered:
        daemon.said()
    elif point not in WHILE_STARTING:
        daemon.ready()
    story()
    if nth > 1:
        until(lambda: died(each, daemon, story), f"{daemon.name} to come to {point.label} once more", 60)
    assert daemon.ended() == -signal.SIGKILL


def died(each: Fleet, daemon: Daemon, story: Story) -> bool:
    """Whether a process is dead; where all is done and it isn't, the story goes on.

    A relay that is late sends together what it sends one by one otherwise, and comes to its points once.
    """
    if daemon.alive and invariants.at_rest(each.engine):
        story()
    return not daemon.alive


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


def die_sending_again(each: Fleet) -> None:
    """What the quarantine still has is carried out already, and does nothing when it is sent once more."""
    snapshot_id, kept = stories.unmanage_too_early(each)
    deadly = ["env", f"{VARIABLE}={RETRY_VISIT.point.label}", str(BIN / "snapmanage-manage")]
    assert each.daemon("manage", HOST, "retry", deadly).run("quarantine", "retry", kept).returncode == -signal.SIGKILL
    each.promises[snapshot_id] = "deleted"
    each.rest()
    assert each.count("SELECT count(*) FROM quarantine WHERE id = :id", id=kept) == 1
    assert each.daemon("manage", HOST).run("quarantine", "retry", kept).returncode == 0
    assert each.count("SELECT count(*) FROM quarantine WHERE id = :id", id=kept) == 0
    each.rest()


def recover(each: Fleet, daemon: Daemon, story: Story) -> None:
    """Start it again, let the client ask again, and wait until all is well."""
    daemon.start()
    story()
    each.rest()
