"""The state of a deployment as Prometheus gauges.

No id is a label, and every set of labels exists from the start: a series that appears with its first problem has no
earlier value with which a rule could compare it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from snapmanage import errors
from snapmanage.core.maintenance.health import Amount, Facts, Waiting, Why
from snapmanage.core.outbox import Kind
from snapmanage.core.records import Status

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

SHOWN = [status for status in Status if status is not Status.DELETED]


def require_library() -> None:
    """Raise `ConfigurationError`, which names the extra, unless `prometheus_client` is installed."""
    try:
        import prometheus_client  # noqa: F401
    except ModuleNotFoundError as error:
        raise errors.ConfigurationError(
            "snapmanage-exporter requires the package prometheus_client; run: pip install 'snapmanage[metrics]'"
        ) from error


def of_facts(facts: Facts, queues: Sequence[str]) -> Iterator["GaugeMetricFamily"]:
    """Yield the gauges of the facts; `queues` are those in whose name a message may be quarantined."""
    yield from _of_backends(facts)
    yield from _of_messages(facts, queues)
    yield from _of_services(facts)
    yield from _of_audit(facts)


def gauge(name: str, text: str, labels: Sequence[str] = (), values: Mapping[Any, float] | None = None) -> Any:
    """Return a gauge with the values by their labels; a key is one label, or a tuple of several."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"snapmanage_{name}", text, labels=labels)
    for key, value in (values or {}).items():
        family.add_metric([str(each) for each in (key if isinstance(key, tuple) else (key,))], value)
    return family


def single(name: str, text: str, value: float) -> Any:
    """Return a gauge without labels."""
    return gauge(name, text, (), {(): value})


def _of_backends(facts: Facts) -> Iterator["GaugeMetricFamily"]:
    servers = facts.servers
    amounts = {
        (server, status.value): facts.snapshots.get((server, status), Amount())
        for server in servers
        for status in SHOWN
    }
    sizes = {server: sum(amounts[server, status.value].gigabytes for status in SHOWN) for server in servers}
    late = {(server, why.value): facts.late.get((server, why), 0) for server in servers for why in Why}
    ages = {server: (facts.now - facts.oldest_due.get(server, facts.now)).total_seconds() for server in servers}
    counts = {key: amount.count for key, amount in amounts.items()}
    yield gauge("snapshots", "Snapshots by the status that clients see.", ("backend", "status"), counts)
    yield gauge("snapshot_gigabytes", "GiB of the snapshots whose size is known.", ("backend",), sizes)
    text = "Operations of snapshots and volumes that take longer than 60 s, by reason."
    yield gauge("operations_late", text, ("backend", "why"), late)
    text = "Seconds since a worker could have claimed the oldest operation that none has claimed; 0 without any."
    yield gauge("oldest_due_seconds", text, ("backend",), ages)


def _of_messages(facts: Facts, queues: Sequence[str]) -> Iterator["GaugeMetricFamily"]:
    waiting = {kind.value: facts.outbox.get(kind, Waiting()) for kind in Kind}
    rows = {kind: each.count for kind, each in waiting.items()}
    ages = {kind: each.age(facts.now).total_seconds() for kind, each in waiting.items()}
    quarantined = dict.fromkeys(queues, 0) | {queue: each.count for queue, each in facts.quarantine.items()}
    yield gauge("outbox_rows", "Messages that are not delivered yet.", ("kind",), rows)
    yield gauge("outbox_oldest_seconds", "Age of the oldest message in the outbox; 0 without any.", ("kind",), ages)
    yield gauge("quarantine_messages", "Messages in quarantine by their queue.", ("queue",), quarantined)


def _of_services(facts: Facts) -> Iterator["GaugeMetricFamily"]:
    up = {(each.server, each.driver): float(facts.is_up(each)) for each in facts.services}
    ages = {each.server: (facts.now - each.heartbeat_at).total_seconds() for each in facts.services}
    yield gauge("service_up", "1 while the heartbeat of a server is not overdue.", ("server", "driver"), up)
    yield gauge("service_heartbeat_age_seconds", "Seconds since the last heartbeat of a server.", ("server",), ages)


def _of_audit(facts: Facts) -> Iterator["GaugeMetricFamily"]:
    audit = facts.audit
    yield single("audit_head", "Number of the last row of the audit log.", audit.head or 0)
    text = "Seconds since the oldest event that was sent and is not in the audit log; 0 without any."
    yield single("audit_lag_seconds", text, audit.lag.total_seconds())
    yield single("audit_ok", "0 if a row of the audit log was changed, removed or inserted.", float(not audit.broken))
    text = "Snapshots whose latest event was sent more than 300 s ago and is not in the audit log."
    yield single("audit_missing_events", text, audit.missing)
