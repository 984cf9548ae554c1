"""A Ceph cluster for the tests: one monitor, and one OSD that keeps its data in memory and across a restart."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from snapmanage import errors
from snapmanage.drivers.system import ceph_bindings
from snapmanage.testing import needs
from snapmanage.testing.services.process import (
    LOOPBACK,
    PORTS,
    START_SECONDS,
    Program,
    Service,
    give_away,
    installed,
    unique,
)
from snapmanage.testing.waiting import until

# An OSD takes free ports of this range; no other service uses a port of it.
OSD_PORTS = (PORTS.stop, PORTS.stop + 700)
PROGRAMS = ("ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool")

# Different from the defaults: a change of the cluster's maps doesn't wait for a second, memstore keeps its data when it
# is stopped, and a killed client loses its locks after 3 s. Each laboratory has a pool of its own, so the limit of
# placement groups is higher.
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
    """Return the folder of the OSD's object classes, in the layout of any distribution; return None if it is missing.

    The OSD needs the absolute path: Debian builds Ceph 18 with a relative one, resolved in the OSD's own folder.
    """
    found = sorted(prefix.glob("lib*/rados-classes/libcls_rbd.so")) or sorted(
        prefix.glob("lib*/*/rados-classes/libcls_rbd.so")
    )
    return found[0].parent if found else None


def require() -> None:
    """Skip the test (fail it in CI) where a program or the bindings for this Python are missing."""
    needs.require(*PROGRAMS)
    if class_folder() is None:
        needs.lacking("the object classes of Ceph (libcls_rbd.so, in the package ceph-osd or ceph-base)")
    try:
        ceph_bindings.load()
    except errors.ConfigurationError as failure:
        needs.lacking(str(failure))


class Ceph(Service):
    """A cluster; the service's own process is the monitor, and `osd` is the other one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.conf = folder / "ceph.conf"
        self.osd = Program("osd", folder)
        self._fsid = str(uuid.uuid4())

    def pool(self) -> str:
        """Create a pool for images and return its name."""
        name = unique("pool")
        with self.connected() as cluster:
            # Each placement group costs the OSD work for every new or removed pool or snapshot, so there is one.
            mon_command(cluster, "osd pool create", pool=name, pg_num=1, pgp_num=1)
            mon_command(cluster, "osd pool application enable", pool=name, app="rbd")
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
        """Start the OSD, created first where it doesn't exist yet; return when it is up."""
        command: list[str | Path] = [installed("ceph-osd"), "--conf", self.conf, "--id", "0", "--foreground"]
        with self.connected() as cluster:
            if not (self.folder / "osd" / "fsid").exists():
                osd_id = str(uuid.uuid4())
                mon_command(cluster, "osd new", uuid=osd_id)
                self.osd.run([*command, "--mkfs", "--osd-uuid", osd_id])
                mon_command(cluster, "osd crush add", id=0, weight=1.0, args=["root=default", "host=here"])
            self.osd.launch(command)
            until(lambda: mon_command(cluster, "osd stat")["num_up_osds"] == 1, "the OSD to be up", START_SECONDS)

    def stop_osd(self) -> None:
        """Stop the OSD with SIGTERM, so that it keeps its data."""
        self.osd.stop()
        with self.connected() as cluster:
            until(lambda: mon_command(cluster, "osd stat")["num_up_osds"] == 0, "the OSD to be down")

    def answers(self) -> bool:
        with suppress(ceph_bindings.load().rados.Error), self.connected():
            return True
        return False

    @contextmanager
    def connected(self, user: str = "admin") -> Iterator[Any]:
        """Yield a connected `rados.Rados` of that user."""
        settings = {"client_mount_timeout": "20", "rados_mon_op_timeout": "20", "rados_osd_op_timeout": "20"}
        rados = ceph_bindings.load().rados
        with rados.Rados(conffile=str(self.conf), rados_id=user, conf=settings) as cluster:
            yield cluster

    def freeze_all(self) -> None:
        """Send SIGSTOP to the monitor and the OSD."""
        self.osd.freeze()
        self.freeze()

    def thaw_all(self) -> None:
        self.thaw()
        self.osd.thaw()

    def close(self) -> None:
        self.osd.kill()
        self.kill()


def mon_command(cluster: Any, command: str, **arguments: object) -> Any:
    """Return the monitor's answer to a command, or None if it isn't JSON; fail the test if the command fails."""
    request = json.dumps({"prefix": command, "format": "json"} | arguments)
    code, answer, error = cluster.mon_command(request, b"")
    assert code == 0, f"{command} failed with {code}: {error}"
    try:
        return json.loads(answer)
    except ValueError:
        return None
