"""A real ZFS as an ordinary process, zfs-fuse, with pools on sparse files. Needs the Debian package, and root.

The socket, the lock and the list of pools of zfs-fuse have fixed paths, so each process runs in a mount namespace of
its own, with scratch file systems at these paths. Test runs then don't disturb one another, nor a zfs-fuse of the
machine.
Clients put `ZfsFuse.path` first in PATH: its `zfs` and `zpool` enter the namespace first.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from snapmanage.testing.needs import lacking, require
from snapmanage.testing.services.process import Service, installed, unique

PROGRAMS = ("zfs-fuse", "zfs", "zpool", "unshare", "nsenter")

_PRIVATE = ("unshare", "--mount", "--propagation", "private")
_POOL_BYTES = 512 * 1024**2
_IN_A_NAMESPACE_OF_ITS_OWN = """
set -e
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/zfs
mkdir -p /var/lib/zfs
mount -t tmpfs tmpfs /var/lib/zfs
mkdir -p /run/zfs /run/lock/zfs
exec "$@"
"""


def require_namespaces() -> None:
    """Skip the test (fail it in CI) unless a mount namespace can be made here; see `needs.require` for the programs."""
    require(*PROGRAMS, root=True)
    unshare, *options = _PRIVATE
    ended = subprocess.run([installed(unshare), *options, "true"], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        lacking(f"a mount namespace of its own for zfs-fuse, which a chroot refuses ({ended.stderr.strip()})")


class ZfsFuse(Service):
    as_nobody = False

    @property
    def path(self) -> str:
        """The folder of the commands `zfs` and `zpool` for this zfs-fuse."""
        return str(self.folder / "bin")

    def prepare(self) -> None:
        Path(self.path).mkdir()
        for name in ("zfs", "zpool"):
            enter = f"exec {installed('nsenter')} --mount=/proc/$pid/ns/mnt"
            command = Path(self.path, name)
            command.write_text(f'#!/bin/sh\nread -r pid < {self.folder}/pid\n{enter} {installed(name)} "$@"\n')
            command.chmod(0o755)

    def command(self) -> Sequence[str | Path]:
        unshare, *options = _PRIVATE
        namespace = [installed(unshare), *options]
        server = [installed("zfs-fuse"), "--no-daemon", "--no-kstat-mount"]
        return [*namespace, "/bin/sh", "-c", _IN_A_NAMESPACE_OF_ITS_OWN, "sh", *server]

    def answers(self) -> bool:
        (self.folder / "pid").write_text(f"{self.pid}\n")
        return self.attempt("zfs", "list").returncode == 0

    def run(self, name: str, *arguments: str) -> str:  # type: ignore[override]
        """Run `zfs` or `zpool` as the operator; if it fails, the test fails with its messages."""
        completed = self.attempt(name, *arguments)
        assert completed.returncode == 0, f"{name} {arguments} ended with {completed.returncode}: {completed.stderr}"
        return completed.stdout

    def enter(self, name: str, *arguments: str) -> str:
        """Run another program in the namespace of this zfs-fuse."""
        argv = [installed("nsenter"), f"--mount=/proc/{self.pid}/ns/mnt", installed(name), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout

    def attempt(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `zfs` or `zpool` as the operator; it may fail."""
        argv = [f"{self.path}/{name}", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    @contextmanager
    def pool(self) -> Iterator[str]:
        """Make an empty pool; destroy it afterwards."""
        name = unique("pool")
        device = self.folder / name
        with device.open("wb") as file:
            file.truncate(_POOL_BYTES)
        try:
            self.run("zpool", "create", "-m", "none", name, str(device))
            yield name
        finally:
            if name in self.run("zpool", "list", "-H", "-o", "name").split():
                self.run("zpool", "destroy", "-f", name)
            device.unlink()
