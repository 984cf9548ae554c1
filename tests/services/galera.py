"""A Galera cluster of three MariaDB nodes on the loopback: each node accepts writes, and rsync copies the state."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pymysql

from snapmanage.testing.services.mariadb import MariaDB
from snapmanage.testing.services.process import LOOPBACK, free_port, scratch
from snapmanage.testing.waiting import until

PROGRAMS = ("mariadb-install-db", "mariadbd", "rsync", "wsrep_sst_rsync")
LIBRARIES = [Path(folder) / "galera/libgalera_smm.so" for folder in ("/usr/lib", "/usr/lib64")]
NODES = 3
JOIN_SECONDS = 120


def library() -> Path | None:
    """Return the path of Galera's library; None if it is not installed."""
    return next(filter(Path.exists, LIBRARIES), None)


class GaleraNode(MariaDB):
    """One node. `members` has the addresses of all nodes; a start without another node makes a new cluster."""

    def __init__(self, folder: Path, members: list[str], sync_wait: int) -> None:
        super().__init__(folder)
        self._group_port, self._state_port, self._increment_port = free_port(), free_port(), free_port()
        self._members = members
        self._sync_wait = sync_wait
        self._found = False
        self.members_address = f"{LOOPBACK}:{self._group_port}"

    def command(self) -> Sequence[str | Path]:
        addresses = "" if self._found else ",".join(each for each in self._members)
        provider = {
            "gmcast.listen_addr": f"tcp://{self.members_address}",
            "ist.recv_addr": f"{LOOPBACK}:{self._increment_port}",
            "gcache.size": "64M",
            "pc.recovery": "true",
        }
        settings = {
            "wsrep-on": "ON",
            "wsrep-provider": library(),
            "wsrep-provider-options": ";".join(f"{name}={value}" for name, value in provider.items()),
            "wsrep-cluster-name": "snapmanage",
            "wsrep-cluster-address": f"gcomm://{addresses}",
            "wsrep-node-address": self.members_address,
            "wsrep-node-incoming-address": f"{LOOPBACK}:{self.port}",
            "wsrep-sst-method": "rsync",
            "wsrep-sst-receive-address": f"{LOOPBACK}:{self._state_port}",
            "wsrep-sync-wait": self._sync_wait,
            "wsrep-slave-threads": 2,
            "binlog-format": "ROW",
            "innodb-autoinc-lock-mode": 2,
        }
        return [*super().command(), *(f"--{name}={value}" for name, value in settings.items())]

    def found(self) -> None:
        """Start as the first node of a new cluster, or of a cluster whose nodes have all stopped."""
        self._found = True
        try:
            self.start()
        finally:
            self._found = False

    def answers(self) -> bool:
        """Return whether the node is part of the majority and has all of its data."""
        try:
            return self.status("wsrep_ready") == "ON" and self.status("wsrep_local_state") == "4"
        except (pymysql.err.MySQLError, TypeError):
            return False

    def status(self, name: str) -> str:
        [[_, value]] = self._query(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return str(value)

    def isolate(self) -> None:
        """Cut the node off from the others; it still answers its clients. The others keep working."""
        self.set("wsrep_provider_options = 'gmcast.isolate=1'")

    def rejoin(self) -> None:
        """End `isolate`, and return when the node is part of the majority again."""
        self.set("wsrep_provider_options = 'gmcast.isolate=0'")
        until(self.answers, f"{self.name} to be part of its cluster again", JOIN_SECONDS)

    def _query(self, statement: str) -> Sequence[Sequence[Any]]:
        with (
            pymysql.connect(
                host=LOOPBACK, port=self.port, user="root", connect_timeout=5, read_timeout=10, ssl_disabled=True
            ) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
            return cursor.fetchall()


class GaleraCluster:
    """The running nodes; the methods of a node kill, stop, freeze, isolate and start it."""

    def __init__(self, nodes: Sequence[GaleraNode]) -> None:
        self.nodes = nodes

    def database(self) -> str:
        """Create an empty database on all nodes, and return its URL on the first node."""
        return self.nodes[0].database()

    def await_members(self) -> None:
        """Return when every node is part of the majority again."""
        until(lambda: all(node.answers() for node in self.nodes), "all nodes to be in the cluster", JOIN_SECONDS)


@contextmanager
def galera(sync_wait: int = 7) -> Iterator[GaleraCluster]:
    """Run a cluster with a value of `wsrep_sync_wait`."""
    with ExitStack() as stack:
        members: list[str] = []
        nodes = [GaleraNode(stack.enter_context(scratch()), members, sync_wait) for _ in range(NODES)]
        members += [node.members_address for node in nodes]
        for node in nodes:
            stack.callback(node.kill)
        with ThreadPoolExecutor() as preparing:
            list(preparing.map(GaleraNode.prepare, nodes))
        nodes[0].found()
        for node in nodes[1:]:
            node.start()
        yield GaleraCluster(nodes)
