"""A RabbitMQ cluster of three nodes on the loopback: a quorum queue has a member on each node, and one leader."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from snapmanage.testing.services.process import scratch
from snapmanage.testing.services.rabbitmq import RabbitMQ
from tests.services.guests.trixie import TrixieRabbitMQ, folder

NODES = 3
COOKIE = "snapmanage"
NAMES = [f"snapmanage{number}@localhost" for number in range(1, NODES + 1)]
MEMBERS = "\n".join(f"cluster_formation.classic_config.nodes.{at} = {name}" for at, name in enumerate(NAMES, 1))


class Node(RabbitMQ):
    """One node; all nodes share a cookie, and the port mapper of the first node."""

    more = f"cluster_formation.peer_discovery_backend = classic_config\n{MEMBERS}\n"

    def __init__(self, folder: Path, name: str, epmd_port: int | None = None) -> None:
        super().__init__(folder)
        self.node = name
        self._guest = epmd_port is not None
        self.epmd_port = epmd_port or self.epmd_port

    def launch_epmd(self) -> None:
        if not self._guest:
            super().launch_epmd()

    def control(self, *arguments: str) -> str:
        return super().control("--erlang-cookie", COOKIE, *arguments)

    def environment(self) -> Mapping[str, str]:
        known = super().environment()
        erlang = f"{known['RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS']} -setcookie {COOKIE}"
        return {**known, "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang}


class TrixieNode(Node, TrixieRabbitMQ):
    """A node of RabbitMQ 4.0."""


# Parameters for tests that each version must pass.
KINDS = [Node, *([TrixieNode] if folder() else [])]


@contextmanager
def cluster(kind: type[Node] = Node) -> Iterator[list[Node]]:
    """Run the nodes; the first node leads the queues that are declared on it."""
    with ExitStack() as stack:
        first = kind(stack.enter_context(scratch()), NAMES[0])
        nodes = [first, *(kind(stack.enter_context(scratch()), name, first.epmd_port) for name in NAMES[1:])]
        for node in nodes:
            stack.callback(node.close)
            node.prepare()
        # Start all at the same time: a node of RabbitMQ 4 waits for the other nodes before it answers.
        with ThreadPoolExecutor() as starting:
            list(starting.map(Node.start, nodes))
        yield nodes
