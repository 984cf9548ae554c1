"""Brokers of each version with RabbitMQ's management API."""

from pathlib import Path

from tests.services import trixie
from tests.services.process import LOOPBACK, free_port
from tests.services.rabbitmq import RabbitMQ
from tests.services.trixie import TrixieRabbitMQ


class ManagedRabbitMQ(RabbitMQ):
    plugins = "[rabbitmq_management]."

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.management_port = free_port()
        self.more = f"management.tcp.ip = {LOOPBACK}\nmanagement.tcp.port = {self.management_port}\n"

    @property
    def management_url(self) -> str:
        return f"http://guest:guest@{LOOPBACK}:{self.management_port}"


class ManagedTrixieRabbitMQ(ManagedRabbitMQ, TrixieRabbitMQ):
    pass


# Those that are there.
MANAGED = [ManagedRabbitMQ, *([ManagedTrixieRabbitMQ] if trixie.folder() else [])]
