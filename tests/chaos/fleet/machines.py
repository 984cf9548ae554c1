"""Machines of a deployment: their configuration, and their proxies to broker and database."""

from collections.abc import Sequence
from typing import NamedTuple

from tests.services.network.wire import Wire

HOST = "storage-1"
CONFIGURATION = """\
[DEFAULT]
host = {host}
enabled_backends = pool
transport_url = {transport_url}
control_exchange = {exchange}
volume_topic = {exchange}-volume
notification_topics = {exchange}-notifications
[database]
connection = {database_url}
[api]
listen = {listen}
[operations]
lease_seconds = 1
max_attempts = {max_attempts}
scan_interval_seconds = 0.2
heartbeat_seconds = 0.5
retry_delay_seconds = 0.1
retry_max_delay_seconds = 1
[relay]
interval_seconds = 0.2
hold_seconds = 0.5
[quota]
snapshots = 1000000
gigabytes = 1000000
[pool]
{section}"""


# The machine of API, relay and audit.
CONTROL = "control"


class Wires(NamedTuple):
    """The proxies of one machine."""

    to_broker: Wire
    to_database: Wire


def machines(hosts: Sequence[str]) -> list[str]:
    """Return the hosts of the servers' processes, each once."""
    return list(dict.fromkeys(name.partition("/")[0] for name in hosts))
