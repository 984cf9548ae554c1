"""Each process dies at each crash point, on both databases, and no request is lost."""

import signal
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pytest

from snapmanage.crash import VARIABLE, Point
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.postgresql import PostgreSQL
from snapmanage.testing.services.rabbitmq import RabbitMQ
from snapmanage.testing.waiting import until
from tests.chaos import actions, stalling_volume
from tests.chaos.actions import Action
from tests.chaos.fleet import invariants
from tests.chaos.fleet.commands import check_commands
from tests.chaos.fleet.fleet import BIN, Databases, Fleet, fleet
from tests.chaos.fleet.machines import HOST
from tests.services.upstream import SmallUpstream, small_upstream


@dataclass(frozen=True)
class CrashCase:
    """The death of a process at the nth time that it reaches a point, while a client does an action.

    With `before`, the process dies at that point first, so that its message is redelivered.
    """

    process: str
    point: Point
    action: Callable[[Fleet], Action] = actions.manage
    nth: int = 1
    before: Point | None = None

    def __str__(self) -> str:
        return f"{self.process} {self.point.label}:{self.nth} {self.action.__name__}"


CRASH_CASES = [
    CrashCase("api", Point.REQUEST_UNCOMMITTED),
    CrashCase("api", Point.REQUEST_UNCOMMITTED, actions.unmanage),
    CrashCase("api", Point.REQUEST_UNCOMMITTED, actions.register),
    CrashCase("api", Point.REQUEST_UNCOMMITTED, actions.edit, nth=2),
    CrashCase("api", Point.REQUEST_UNCOMMITTED, actions.manage_batch),
    CrashCase("api", Point.REQUEST_UNCOMMITTED, actions.retry),
    CrashCase("api", Point.REQUEST_UNCOMMITTED, actions.remove_failed),
    CrashCase("api", Point.REMOVE_UNCOMMITTED, actions.unmanage_volume),
    CrashCase("api", Point.QUOTA_QUEUE_OPENED, actions.manage_in_a_new_project),
    CrashCase("api", Point.OWED_COMMITTED),
    CrashCase("api", Point.OWED_COMMITTED, actions.unmanage),
    CrashCase("api", Point.OWED_COMMITTED, actions.manage_batch),
    CrashCase("api", Point.OWED_COMMITTED, actions.retry),
    CrashCase("api", Point.OWED_COMMITTED, actions.remove_failed),
    CrashCase("api", Point.RELAY_SENDING),
    CrashCase("api", Point.RELAY_SENDING, actions.manage_batch),
    CrashCase("api", Point.UNCONFIRMED),
    CrashCase("api", Point.UNANSWERED),
    CrashCase("api", Point.UNANSWERED, actions.manage_batch),
    CrashCase("api", Point.UNANSWERED, actions.unmanage),
    CrashCase("api", Point.UNANSWERED, actions.register),
    CrashCase("api", Point.UNANSWERED, actions.edit),
    CrashCase("api", Point.UNANSWERED, actions.retry),
    CrashCase("api", Point.UNANSWERED, actions.unmanage_volume),
    CrashCase("volume", Point.SERVER_ANNOUNCED),
    CrashCase("volume", Point.RECEIVED),
    CrashCase("volume", Point.RECEIVED, actions.cast),
    CrashCase("volume", Point.ACCEPT_UNCOMMITTED),
    CrashCase("volume", Point.ACCEPT_UNCOMMITTED, actions.cast),
    CrashCase("volume", Point.ACCEPT_UNCOMMITTED, actions.unmanage),
    CrashCase("volume", Point.ACCEPT_UNCOMMITTED, actions.register),
    CrashCase("volume", Point.ACCEPT_UNCOMMITTED, actions.retry),
    CrashCase("volume", Point.ACCEPT_UNCOMMITTED, actions.cast_for_an_unmanaged_volume),
    CrashCase("volume", Point.ACCEPTED),
    CrashCase("volume", Point.QUARANTINED, actions.send_garbage),
    CrashCase("volume", Point.REDELIVERY_COUNTED, actions.cast, before=Point.RECEIVED),
    CrashCase("volume", Point.REDELIVERY_HANDLED, actions.cast, before=Point.RECEIVED),
    CrashCase("volume", Point.HANDLED, actions.cast),
    CrashCase("volume", Point.ACKNOWLEDGED, actions.cast),
    CrashCase("volume", Point.CLAIM_UNCOMMITTED),
    CrashCase("volume", Point.CLAIM_UNCOMMITTED, actions.unmanage),
    CrashCase("volume", Point.CLAIM_UNCOMMITTED, actions.register),
    CrashCase("volume", Point.OWED_COMMITTED),
    CrashCase("volume", Point.CLAIMED),
    CrashCase("volume", Point.CLAIMED, actions.register),
    CrashCase("volume", Point.FOUND),
    CrashCase("volume", Point.RESOLVE_UNCOMMITTED),
    CrashCase("volume", Point.QUOTA_QUEUE_OPENED, actions.cast_in_a_new_project),
    CrashCase("volume", Point.RESOLVED),
    CrashCase("volume", Point.BATCH_LOOKED, actions.manage_batch),
    CrashCase("volume", Point.RENAMING),
    CrashCase("volume", Point.RENAMING, actions.manage_batch, nth=3),
    CrashCase("volume", Point.RENAMING, actions.unmanage),
    CrashCase("volume", Point.RENAMED),
    CrashCase("volume", Point.RENAMED, actions.unmanage),
    CrashCase("volume", Point.RENAMED, actions.retry),
    CrashCase("volume", Point.BATCH_RENAMED),
    CrashCase("volume", Point.BATCH_RENAMED, actions.manage_batch, nth=2),
    CrashCase("volume", Point.RENAME_UNSYNCED),
    CrashCase("volume", Point.RENAME_UNSYNCED, actions.unmanage),
    CrashCase("volume", Point.CARRIED_OUT),
    CrashCase("volume", Point.CARRIED_OUT, actions.unmanage),
    CrashCase("volume", Point.SETTLE_UNCOMMITTED),
    CrashCase("volume", Point.SETTLE_UNCOMMITTED, actions.unmanage),
    CrashCase("volume", Point.SETTLE_UNCOMMITTED, actions.register),
    CrashCase("volume", Point.OWED_COMMITTED, nth=2),
    CrashCase("volume", Point.SETTLE_UNCOMMITTED, actions.retry),
    CrashCase("volume", Point.SETTLED),
    CrashCase("volume", Point.RELAY_SENDING, actions.manage_another, nth=2),
    CrashCase("volume", Point.UNCONFIRMED, actions.manage_another, nth=2),
    CrashCase("volume", Point.RELAY_CONFIRMED, actions.manage_another, nth=2),
    CrashCase("audit", Point.EVENTS_RECEIVED),
    CrashCase("audit", Point.AUDIT_UNCOMMITTED),
    CrashCase("audit", Point.QUARANTINED, actions.announce_garbage),
    CrashCase("audit", Point.REDELIVERY_COUNTED, before=Point.EVENTS_RECEIVED),
    CrashCase("audit", Point.REDELIVERY_HANDLED, before=Point.EVENTS_RECEIVED),
    CrashCase("audit", Point.HANDLED),
    CrashCase("audit", Point.ACKNOWLEDGED),
]
# A relay finds the messages that processes without a relay of their own leave in the outbox.
RELAY_CASES = [
    CrashCase("relay", point)
    for point in (Point.RELAY_UNCOMMITTED, Point.RELAY_TAKEN, Point.UNCONFIRMED, Point.RELAY_CONFIRMED)
]
DRAIN_CASES = [CrashCase("volume", Point.RELEASE_UNCOMMITTED), CrashCase("volume", Point.RELEASED)]
# Points at which a server dies while it reports an outcome to an upstream API, or while it writes the report.
REPORT_POINTS = [Point.SETTLE_UNCOMMITTED, Point.SETTLED, Point.REPORTS_TAKEN, Point.REPORTS_SENT]
RETRY_CASE = CrashCase("manage", Point.SENT_AGAIN)
# Each with the number of old rows that are left when the purge dies.
PURGE_CASES = {Point.PURGE_UNCOMMITTED: 1, Point.PURGED: 0}
AUDIT_PURGE_CASES = [
    CrashCase("manage", Point.AUDIT_PURGE_UNCOMMITTED),
    CrashCase("manage", Point.AUDIT_PURGED),
]
# Processes reach these points while they start, possibly before they are ready.
WHILE_STARTING = {Point.SERVER_ANNOUNCED, Point.REDELIVERY_COUNTED, Point.REDELIVERY_HANDLED}

# tests/contract visits the points in the steps of a driver, on its backend.
DRIVER_POINTS = {Point.PROTECTION_NOTED, Point.UNPROTECTED}


@pytest.fixture(scope="module")
def fleets(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ, mariadb: MariaDB, postgresql: PostgreSQL
) -> Iterator[list[Fleet]]:
    """Run a deployment on each database; each test uses both at the same time."""
    with ExitStack() as stack:
        databases: dict[str, Databases] = {"mariadb": mariadb, "postgresql": postgresql}
        yield [
            stack.enter_context(fleet(tmp_path_factory.mktemp(name), rabbitmq, database, [HOST]))
            for name, database in databases.items()
        ]


@pytest.fixture(scope="module")
def without_relays(fleets: list[Fleet]) -> list[Fleet]:
    """Like `fleets`, but only the process `relay` has a relay."""
    for each in fleets:
        for name in ("api", HOST):
            each.daemons[name].kill()
            each.daemons[name].start({"OS_RELAY__IN_PROCESS": "false"})
    return fleets


def manage_one_more(each: Fleet) -> None:
    """Manage a snapshot in a deployment whose audit log was purged."""
    events = each.count("SELECT number FROM audit_head") + 2
    actions.manage(each)()
    until(lambda: each.count("SELECT number FROM audit_head") == events, "the events of the snapshot")


def on_each(fleets: list[Fleet], act: Callable[[Fleet], None]) -> None:
    with ThreadPoolExecutor(len(fleets)) as pool:
        list(pool.map(act, fleets))


def run_case(each: Fleet, case: CrashCase) -> None:
    daemon = each.daemons[HOST if case.process == "volume" else case.process]
    action = case.action(each)
    if case.before:
        # The message of the previous case may still be in the queue.
        die_at_point(each, daemon, case.before, 1, action, redelivered=True)
    die_at_point(each, daemon, case.point, case.nth, action, redelivered=bool(case.before))
    recover(each, daemon, action)


def die_at_point(
    each: Fleet, daemon: Daemon, point: Point, nth: int, action: Action, redelivered: bool = False
) -> None:
    """Start a process that dies at a point; a redelivered message may kill it before it is ready."""
    daemon.close()
    daemon.launch({VARIABLE: f"{point.label}:{nth}"})
    if redelivered:
        daemon.next_line()
    elif point not in WHILE_STARTING:
        daemon.await_ready()
    action()
    if nth > 1:
        until(lambda: is_dead(each, daemon, action), f"{daemon.name} to reach {point.label} {nth} times", 60)
    assert daemon.await_exit() == -signal.SIGKILL


def is_dead(each: Fleet, daemon: Daemon, action: Action) -> bool:
    """Return whether a process is dead; repeat the action if the deployment is idle and the process lives.

    A slow relay sends several messages in one batch, and so reaches its points only once.
    """
    if daemon.alive and invariants.is_idle(each.engine):
        action()
    return not daemon.alive


def run_drain_case(each: Fleet, case: CrashCase) -> None:
    """Let a server die at a point while it shuts down and releases the claim of a hanging rename."""
    journal = each.folder / f"renames-{uuid.uuid4().hex}"
    daemon = each.daemon("volume", HOST, "stalling", [*stalling_volume.COMMAND, str(journal), "stall"])
    action = actions.manage(each)
    each.daemons[HOST].close()
    daemon.start({VARIABLE: case.point.label, "OS_OPERATIONS__GRACEFUL_SHUTDOWN_TIMEOUT": "0"})
    action()
    until(lambda: journal.exists() and journal.read_text().endswith("\n"), "the rename to be in the journal")
    daemon.send(signal.SIGTERM)
    assert daemon.await_exit() == -signal.SIGKILL
    recover(each, each.daemons[HOST], action)


def run_report_case(each: Fleet, point: Point, upstream: SmallUpstream) -> None:
    """Let a server die at a point; the upstream shows the outcome once the server runs again."""
    daemon = each.daemons[HOST]
    options = {"ENDPOINT": upstream.endpoint, "AUTH_TYPE": "none", "TIMEOUT_SECONDS": "1"}
    environment = {f"OS_UPSTREAM__{name}": value for name, value in options.items()}
    daemon.close()
    daemon.start(environment | {VARIABLE: point.label})
    snapshot_id = str(uuid.uuid4())
    upstream.statuses[snapshot_id] = "creating"
    actions.cast_in_cinder_s_dialect(each, snapshot_id)
    assert daemon.await_exit() == -signal.SIGKILL
    daemon.start(environment)
    until(lambda: upstream.statuses[snapshot_id] == "available", "the outcome to be reported", 60)
    until(lambda: each.count("SELECT count(*) FROM upstream_reports") == 0, "the report to be forgotten", 60)
    daemon.close()
    daemon.start()
    each.await_idle()


def run_retry_case(each: Fleet) -> None:
    """Let `quarantine retry` die after it has sent the message; sending the message a second time has no effect."""
    snapshot_id, kept = actions.unmanage_too_early(each)
    deadly = ["env", f"{VARIABLE}={RETRY_CASE.point.label}", str(BIN / "snapmanage-manage")]
    assert each.daemon("manage", HOST, "retry", deadly).run("quarantine", "retry", kept).returncode == -signal.SIGKILL
    each.promises[snapshot_id] = "deleted"
    each.await_idle()
    assert each.count("SELECT count(*) FROM quarantine WHERE id = :id", id=kept) == 1
    assert each.daemon("manage", HOST).run("quarantine", "retry", kept).returncode == 0
    assert each.count("SELECT count(*) FROM quarantine WHERE id = :id", id=kept) == 0
    each.await_idle()


def run_purge_case(each: Fleet, point: Point) -> None:
    """Let `purge` die at a point, while it deletes a volume that failed long ago; then purge again."""
    volume_id = actions.fail_to_register_long_ago(each)
    count = "SELECT count(*) FROM volumes WHERE id = :id"
    deadly = ["env", f"{VARIABLE}={point.label}", str(BIN / "snapmanage-manage")]
    assert each.daemon("manage", HOST, "purge", deadly).run("purge", "--failed").returncode == -signal.SIGKILL
    assert each.count(count, id=volume_id) == PURGE_CASES[point]
    again = each.daemon("manage", HOST).run("purge", "--failed")
    assert (again.returncode, each.count(count, id=volume_id)) == (0, 0), again.stdout
    each.await_idle()


def run_audit_purge_case(each: Fleet, case: CrashCase) -> None:
    """Let `audit purge` die; the log is whole afterwards, and a second purge deletes the rest."""
    manage, folder = each.daemon("manage", HOST), each.folder / uuid.uuid4().hex
    folder.mkdir()
    key, checkpoint = folder / "key", folder / "checkpoint"
    assert manage.run("audit", "key", "create", str(key)).returncode == 0
    assert manage.run("audit", "checkpoint", "--key", str(key), "--output", str(checkpoint)).returncode == 0
    signed = ["--checkpoint", str(checkpoint), "--public-key", f"{key}.pub"]
    deadly = ["env", f"{VARIABLE}={case.point.label}", str(BIN / "snapmanage-manage")]
    dead = each.daemon("manage", HOST, "purge", deadly).run("audit", "purge", *signed)
    assert dead.returncode == -signal.SIGKILL
    for _ in range(2):
        verified = manage.run("audit", "verify", *signed)
        assert verified.returncode == 0, verified.stdout
        assert manage.run("audit", "purge", *signed).returncode == 0
    assert each.count("SELECT count(*) FROM audit") == 0


def recover(each: Fleet, daemon: Daemon, action: Action) -> None:
    """Start the process again, repeat the client's action, and wait until the deployment is idle."""
    daemon.start()
    action()
    each.await_idle()


def test_every_crash_point_is_reached() -> None:
    cases = [*CRASH_CASES, *RELAY_CASES, *DRAIN_CASES, RETRY_CASE, *AUDIT_PURGE_CASES]
    assert {case.point for case in cases} | DRIVER_POINTS | {*PURGE_CASES, *REPORT_POINTS} == set(Point)


@pytest.mark.parametrize("case", CRASH_CASES, ids=str)
def test_no_request_is_lost_if_a_process_dies(fleets: list[Fleet], case: CrashCase) -> None:
    on_each(fleets, lambda each: run_case(each, case))


@pytest.mark.parametrize("case", DRAIN_CASES, ids=str)
def test_no_request_is_lost_if_a_server_dies_while_it_releases_claims(fleets: list[Fleet], case: CrashCase) -> None:
    on_each(fleets, lambda each: run_drain_case(each, case))


@pytest.mark.parametrize("point", REPORT_POINTS, ids=lambda point: point.label)
def test_no_outcome_is_lost_if_a_server_dies(fleets: list[Fleet], point: Point) -> None:
    with small_upstream() as upstream:
        on_each(fleets, lambda each: run_report_case(each, point, upstream))


def test_no_message_is_lost_if_the_command_that_sends_it_again_dies(fleets: list[Fleet]) -> None:
    on_each(fleets, run_retry_case)


@pytest.mark.parametrize("point", PURGE_CASES, ids=lambda point: point.label)
def test_purge_that_dies_can_be_repeated(fleets: list[Fleet], point: Point) -> None:
    on_each(fleets, lambda each: run_purge_case(each, point))


@pytest.mark.parametrize("case", RELAY_CASES, ids=str)
def test_no_request_is_lost_if_a_relay_dies(without_relays: list[Fleet], case: CrashCase) -> None:
    on_each(without_relays, lambda each: run_case(each, case))


def test_audit_log_and_quota_agree_with_the_records(fleets: list[Fleet]) -> None:
    on_each(fleets, check_commands)


# The last test of this file: the invariants of the others need every event.
def test_audit_log_is_whole_if_its_purge_dies(fleets: list[Fleet]) -> None:
    for number, case in enumerate(AUDIT_PURGE_CASES):
        if number:
            on_each(fleets, manage_one_more)
        on_each(fleets, partial(run_audit_purge_case, case=case))
