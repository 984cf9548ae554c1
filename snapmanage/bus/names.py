"""The names of exchange, queues and routing keys."""

from collections.abc import Sequence
from dataclasses import dataclass

from snapmanage.core.values.location import Location

# 1.1: get_manageable_snapshots takes filters. 1.2: unmanage_snapshot takes generation. 1.3: get_manageable_volumes, the
# selectors in the filters, and own_fields. 1.4: the lists take text.
VERSION = "1.4"
# Every newer minor version is accepted, because a new argument always has a default.
ACCEPTED_VERSION = "1.65535"
ACCEPTED_REFERENCE_VERSION = "3.65535"
AUDIT = "snapmanage-audit"


@dataclass(frozen=True)
class Names:
    """The configured names: the exchange, the servers' topic and the notification topics."""

    exchange: str = "openstack"
    volume_topic: str = "snapmanage-volume"
    notification_topics: Sequence[str] = ("notifications",)

    def server_queue(self, server: str) -> str:
        """Return the queue of casts and calls to one server."""
        return f"{self.volume_topic}.{server}"

    def server_queues(self, server: str) -> list[str]:
        """Return the queues that a server consumes: the shared one, its own, and its own in Cinder's naming."""
        own = self.server_queue(server)
        return [self.volume_topic, own, f"{own}.{Location.parse(server).host}"]

    def queue_names(self) -> dict[str, str]:
        """Return the name of the queue that snapmanage-audit consumes, by routing key of events.

        A queue that is named like its routing key belongs to oslo.messaging's listeners, which declare it differently.
        """
        return {key: f"{AUDIT}.{key}" for key in self.event_keys()}

    def event_keys(self) -> list[str]:
        """Return the routing keys of events."""
        return [f"{topic}.{level}" for topic in self.notification_topics for level in ("info", "error")]
