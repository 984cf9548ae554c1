"""A Ceph cluster of our own: one monitor and one OSD, which keeps its data in memory and over a restart."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from snapmanage import errors
from snapmanage.drivers.system import ceph_bindings
from tests import needs
from tests.services.process import LOOPBACK, PORTS, START_SECONDS, Program, Service, give_away, installed, unique
from tests.waiting import until

# An OSD takes what is free of them: none that a service has, or will have, for its own.
OSD_PORTS = (PORTS.stop, PORTS.stop + 700)
PROGRAMS = ("ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool")

# Other than the defaults: a change of the cluster's maps doesn't wait for a second, memstore keeps what it holds
# when it is stopped, and a client that was killed loses its locks soon. Each laboratory has a pool of its own, so the
# limit of placement groups is higher.
CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = [v2:{host}:{port}]
keyring = {folder}/keyring
public network = {host}/8
ms bind msgr1 = false
ms bind port min = {osd_ports[0]}
ms bind port max = {osd_ports[1]}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
mon max pg per osd = 10000
paxos propose interval = 0.02
paxos min wait = 0.01
auth allow insecure global id reclaim = false
mon allow pool size one = true
mon allow pool delete = true
mon data avail warn = 2
mon data avail crit = 1
run dir = {folder}
admin socket =
pid file =
log file =
log to stderr = false
err to stderr = false
mon cluster log file =
mon cluster log to file = false
crash dir = {folder}

[mon]
log to stderr = true
err to stderr = true
mon data = {folder}/mon
mon initial members = a

[osd]
log to stderr = true
err to stderr = true
osd data = {folder}/osd
osd objectstore = memstore
osd fast shutdown = false
osd client watch timeout = 3
osd crush update on start = false
osd class load list = *
osd class default list = *
osd class dir = {classes}
"""

KEYS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *"},
    "client.reader": {"mon": "profile rbd", "osd": "profile rbd-read-only"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
}


def class_folder(prefix: Path = Path("/usr")) -> Path | None:
    """The folder of the OSD's object classes, wherever the packages have put it; None where there is none.

    Debian builds Ceph 18 with a path that is relative to the prefix, in which an OSD looks below its own folder.
    """
    found = sorted(prefix.glob("lib*/rados-classes/libcls_rbd.so")) or sorted(
        prefix.glob("lib*/*/rados-classes/libcls_rbd.so")
    )
    return found[0].parent if found else None


def require() -> None:
    """Skip the test (fail it in CI) where a program, or the bindings of this Python, are missing."""
    needs.require(*PROGRAMS)
    if class_folder() is None:
        needs.lacking("the object classes of Ceph (libcls_rbd.so, of the package ceph-osd or ceph-base)")
    try:
        ceph_bindings.load()
    except errors.ConfigurationError as failure:
        needs.lacking(str(failure))


class Ceph(Service):
    """The monitor is the service itself; `osd` is beside it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.conf = folder / "ceph.conf"
        self.osd = Program("osd", folder)
        self._fsid = str(uuid.uuid4())

    def pool(self) -> str:
        """The name of a new pool, ready for images."""
        name = unique("pool")
        with self.connected() as cluster:
            # More placement groups only cost: the OSD works on each when a pool or a snapshot comes or goes.
            told(cluster, "osd pool create", pool=name, pg_num=1, pgp_num=1)
            told(cluster, "osd pool application enable", pool=name, app="rbd")
            with cluster.open_ioctx(name) as ioctx:
                ceph_bindings.load().rbd.RBD().pool_init(ioctx, True)
        return name

    def prepare(self) -> None:
        text = CONFIGURATION.format(
            fsid=self._fsid,
            host=LOOPBACK,
            port=self.port,
            folder=self.folder,
            osd_ports=OSD_PORTS,
            classes=class_folder(),
        )
        self.conf.write_text(text)
        for folder in ("mon", "osd"):
            (self.folder / folder).mkdir()
            give_away(self.folder / folder)
        keyring, monmap = self.folder / "keyring", self.folder / "monmap"
        for name, caps in KEYS.items():
            create = ["--create-keyring"] if name == "mon." else []
            allowed: list[str | Path] = [part for service, cap in caps.items() for part in ("--cap", service, cap)]
            self.run([installed("ceph-authtool"), *create, keyring, "--gen-key", "--name", name, *allowed])
        address = f"[v2:{LOOPBACK}:{self.port}]"
        self.run([installed("monmaptool"), "--create", "--fsid", self._fsid, "--addv", "a", address, monmap])
        self.run([*self.command(), "--mkfs", "--monmap", monmap, "--keyring", keyring])

    def command(self) -> Sequence[str | Path]:
        return [installed("ceph-mon"), "--conf", self.conf, "--id", "a", "--foreground"]

    def start(self) -> None:
        super().start()
        self.start_osd()

    def start_osd(self) -> None:
        """Start the OSD, made before where this is the first time; returns when it serves."""
        command: list[str | Path] = [installed("ceph-osd"), "--conf", self.conf, "--id", "0", "--foreground"]
        with self.connected() as cluster:
            if not (self.folder / "osd" / "fsid").exists():
                osd_id = str(uuid.uuid4())
                told(cluster, "osd new", uuid=osd_id)
                self.osd.run([*command, "--mkfs", "--osd-uuid", osd_id])
                told(cluster, "osd crush add", id=0, weight=1.0, args=["root=default", "host=here"])
            self.osd.launch(command)
            until(lambda: told(cluster, "osd stat")["num_up_osds"] == 1, "the OSD to be up", START_SECONDS)

    def stop_osd(self) -> None:
        """End the OSD in order, so that it keeps what it holds."""
        self.osd.stop()
        with self.connected() as cluster:
            until(lambda: told(cluster, "osd stat")["num_up_osds"] == 0, "the OSD to be down")

    def answers(self) -> bool:
        with suppress(ceph_bindings.load().rados.Error), self.connected():
            return True
        return False

    @contextmanager
    def connected(self, user: str = "admin") -> Iterator[Any]:
        """A `rados.Rados` of that user."""
        settings = {"client_mount_timeout": "20", "rados_mon_op_timeout": "20", "rados_osd_op_timeout": "20"}
        rados = ceph_bindings.load().rados
        with rados.Rados(conffile=str(self.conf), rados_id=user, conf=settings) as cluster:
            yield cluster

    def freeze_all(self) -> None:
        """SIGSTOP to the whole cluster."""
        self.osd.freeze()
        self.freeze()

    def thaw_all(self) -> None:
        self.thaw()
        self.osd.thaw()

    def close(self) -> None:
        self.osd.kill()
        self.kill()


def told(cluster: Any, command: str, **arguments: object) -> Any:
    """The monitor's answer to a command, None where it has nothing to say; its failure fails the test."""
    asked = json.dumps({"prefix": command, "format": "json"} | arguments)
    code, answer, error = cluster.mon_command(asked, b"")
    assert code == 0, f"{command} failed with {code}: {error}"
    try:
        return json.loads(answer)
    except ValueError:
        return None
