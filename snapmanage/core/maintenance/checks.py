"""The checks of a deployment, which its facts pass or fail, each with its remedy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from snapmanage.core.maintenance.health import PATIENCE, Audit, Facts, QueueFacts, Why
from snapmanage.core.records import Status

# The share and the number of failed operations from which they are a warning.
MOST_FAILED = 0.1
FEWEST_FAILED = 5
NAMES_SHOWN = 5


class State(Enum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Check:
    """A check with its result, and the remedy unless all is well."""

    name: str
    state: State
    facts: str
    remedy: str | None = None


def of_facts(facts: Facts) -> list[Check]:
    """Return the checks of the database's facts."""
    return [
        _servers(facts),
        _owners(facts),
        _operations(facts),
        _outcomes(facts),
        _outbox(facts),
        _quarantine(facts),
        *_audit(facts.audit),
    ]


def of_broker(queues: Sequence[QueueFacts], dead_letters: Sequence[QueueFacts]) -> list[Check]:
    """Return the checks of a broker that answers."""
    broker = Check("broker", State.OK, f"it answers, and was asked for {len(queues) + len(dead_letters)} queues")
    absent = [each.name for each in queues if each.messages is None]
    idle = [each.name for each in queues if each.consumers == 0]
    depth = sum(each.messages or 0 for each in (*queues, *dead_letters))
    found = f"{len(queues)} queues with {depth} messages"
    if absent:
        remedy = "start the processes that consume them: snapmanage-volume, or snapmanage-audit; they declare them"
        return [broker, Check("queues", State.FAILED, f"these do not exist: {_names(absent)}", remedy)]
    if idle:
        remedy = "start the processes that consume them: snapmanage-volume, or snapmanage-audit"
        return [broker, Check("queues", State.FAILED, f"{found}; these have no consumer: {_names(idle)}", remedy)]
    return [broker, Check("queues", State.OK, found)]


def broker_is_away(reason: str) -> Check:
    """Return the check of a broker that does not answer."""
    remedy = "start the broker, or correct [DEFAULT] transport_url; the messages wait in the outbox meanwhile"
    return Check("broker", State.FAILED, f"it does not answer: {reason}", remedy)


def database_is_away(reason: str) -> Check:
    """Return the check of a database that does not answer."""
    return Check(
        "database",
        State.UNKNOWN,
        f"its facts can't be read: {reason}",
        "start the database, or correct [database] connection; the other checks need it",
    )


def _servers(facts: Facts) -> Check:
    name = "servers"
    down = [each for each in facts.services if not facts.is_up(each)]
    disabled = [each.server for each in facts.services if each.disabled_reason is not None]
    if not facts.services:
        return Check(name, State.FAILED, "no server ever sent a heartbeat", "start snapmanage-volume")
    if down:
        shown = _names(
            [f"{each.server} (last heartbeat {_seconds(facts.now - each.heartbeat_at)} ago)" for each in down]
        )
        remedy = (
            "start snapmanage-volume on their hosts, and read its log; for a server that will not return, see "
            "docs/how-to/move-a-host.md"
        )
        return Check(name, State.FAILED, f"{len(down)} of {len(facts.services)} are down: {shown}", remedy)
    if disabled:
        remedy = "`snapmanage-manage service enable SERVER` when the reason has ended"
        return Check(name, State.WARNING, f"all are up; these are disabled: {_names(disabled)}", remedy)
    return Check(name, State.OK, f"all {len(facts.services)} are up")


def _owners(facts: Facts) -> Check:
    name = "records"
    known = {each.server for each in facts.services}
    lost = sorted({server for server, _ in facts.snapshots} - known)
    total = sum(amount.count for amount in facts.snapshots.values())
    if lost:
        remedy = "restore the host or the backend in the configuration, or see docs/how-to/move-a-host.md"
        return Check(name, State.FAILED, f"no server has the records of {_names(lost)}", remedy)
    return Check(name, State.OK, f"{total} snapshots, each with a known server")


def _operations(facts: Facts) -> Check:
    name = "operations"
    if not facts.late:
        return Check(name, State.OK, f"none takes longer than {_seconds(PATIENCE)}")
    reasons = dict.fromkeys(Why, 0)
    for (_, why), count in facts.late.items():
        reasons[why] += count
    shown = ", ".join(f"{count} {why.value}" for why, count in reasons.items() if count)
    remedy = "`snapmanage-manage stuck` shows each of them with the reason"
    late = sum(facts.late.values())
    return Check(name, State.WARNING, f"{late} take longer than {_seconds(PATIENCE)}: {shown}", remedy)


def _outcomes(facts: Facts) -> Check:
    name = "outcomes"
    settled = sum(facts.settled.values())
    failed = sum(count for (_, status), count in facts.settled.items() if status is Status.ERROR)
    in_error = sum(amount.count for (_, status), amount in facts.snapshots.items() if status is Status.ERROR)
    shown = f"{failed} of {settled} operations failed within an hour; {in_error} snapshots are in error"
    if failed >= FEWEST_FAILED and failed > MOST_FAILED * settled:
        remedy = 'read the reasons in the log of snapmanage-volume: lines with "Operation failed"'
        return Check(name, State.WARNING, shown, remedy)
    return Check(name, State.OK, shown)


def _outbox(facts: Facts) -> Check:
    name = "relay"
    count = sum(each.count for each in facts.outbox.values())
    age = max((each.age(facts.now) for each in facts.outbox.values()), default=timedelta(0))
    if age <= PATIENCE:
        return Check(name, State.OK, f"{count} messages wait in the outbox")
    remedy = "check that the broker answers, that a relay runs, and that the servers of the casts are up"
    shown = f"{count} messages wait in the outbox, the oldest for {_seconds(age)}"
    return Check(name, State.FAILED, shown, remedy)


def _quarantine(facts: Facts) -> Check:
    name = "quarantine"
    found = {queue: each.count for queue, each in facts.quarantine.items() if each.count}
    if not found:
        return Check(name, State.OK, "empty")
    shown = _names([f"{count} of {queue}" for queue, count in sorted(found.items())])
    remedy = "`snapmanage-manage quarantine list` shows the reasons; then `quarantine retry` or `quarantine drop`"
    return Check(name, State.WARNING, f"{sum(found.values())} messages: {shown}", remedy)


def _audit(audit: Audit) -> Iterator[Check]:
    chain, lag = "audit chain", "audit lag"
    verify = "`snapmanage-manage audit verify` reads every row; see docs/how-to/audit.md"
    if audit.broken:
        yield Check(chain, State.FAILED, audit.broken, verify)
    else:
        yield Check(chain, State.OK, f"unbroken in the rows that were read; the last row is {audit.head}")
    shown = f"{audit.unrecorded} events that were sent are not recorded, the oldest for {_seconds(audit.lag)}"
    start = "start snapmanage-audit, and read its log"
    if audit.missing:
        remedy = f"{start}; if it runs and its queues are empty, the events are lost: {verify}"
        yield Check(lag, State.FAILED, shown, remedy)
    elif audit.lag > PATIENCE:
        yield Check(lag, State.WARNING, shown, start)
    else:
        yield Check(lag, State.OK, "every event that was sent is recorded" if not audit.unrecorded else shown)


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _seconds(time: timedelta) -> str:
    return f"{max(time.total_seconds(), 0):.0f} s"
