"""Every name on the bus."""

from collections.abc import Sequence
from dataclasses import dataclass

from snapmanage.core.location import Location

# 1.1: get_manageable_snapshots takes filters. 1.2: unmanage_snapshot takes generation.
VERSION = "1.2"
# Any newer minor version is understood, since a new argument has a default.
ACCEPTED_VERSION = "1.65535"
ACCEPTED_REFERENCE_VERSION = "3.65535"
AUDIT = "snapmanage-audit"


@dataclass(frozen=True)
class Names:
    """The configured names: an exchange, the servers' topic, and where notifications go."""

    exchange: str = "openstack"
    volume_topic: str = "snapmanage-volume"
    notification_topics: Sequence[str] = ("notifications",)

    def server_queue(self, server: str) -> str:
        """Where a cast or call to one server goes."""
        return f"{self.volume_topic}.{server}"

    def server_queues(self, server: str) -> list[str]:
        """The queues a server takes from: its own, that of whichever server comes first, and the reference's."""
        own = self.server_queue(server)
        return [self.volume_topic, own, f"{own}.{Location.parse(server).host}"]

    def notification_queue(self, topic: str, priority: str) -> str:
        return f"{topic}.{priority.lower()}"

    def queue_names(self) -> dict[str, str]:
        """Return the name of the queue, for each routing key of events, that snapmanage-audit takes from.

        A queue called like its key belongs to oslo.messaging's listeners, which declare it in their own way.
        """
        return {key: f"{AUDIT}.{key}" for key in self.audited_queues()}

    def audited_queues(self) -> list[str]:
        """Under which keys events arrive."""
        return [
            self.notification_queue(topic, level) for topic in self.notification_topics for level in ("info", "error")
        ]
