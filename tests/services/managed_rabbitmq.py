"""Brokers of each version with RabbitMQ's management API."""

from pathlib import Path

from snapmanage.testing.services.process import LOOPBACK, free_port
from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.services.guests import trixie
from tests.services.guests.trixie import TrixieRabbitMQ

# The management API reports a queue's policy once the broker has collected the queue's statistics. By default, the
# broker does so every five seconds; here, every 200 milliseconds.
INTERVALS = "{collect_statistics_interval, 200}, {quorum_tick_interval, 200}"


class ManagedRabbitMQ(RabbitMQ):
    plugins = "[rabbitmq_management]."
    advanced = f"[{{rabbit, [{INTERVALS}]}}]."

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.management_port = free_port()
        self.more = f"management.tcp.ip = {LOOPBACK}\nmanagement.tcp.port = {self.management_port}\n"

    @property
    def management_url(self) -> str:
        return f"http://guest:guest@{LOOPBACK}:{self.management_port}"


class ManagedTrixieRabbitMQ(ManagedRabbitMQ, TrixieRabbitMQ):
    pass


# The installed versions.
MANAGED = [ManagedRabbitMQ, *([ManagedTrixieRabbitMQ] if trixie.folder() else [])]
