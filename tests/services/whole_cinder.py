"""A whole Cinder for the tests: its API, its scheduler and its volume service with LVM, on a real volume group."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from snapmanage.testing.services.lvm_metadata import MetadataGroup
from tests.services.cinder import PROJECT, Cinder

SERVER = Path(__file__).parent / "whole_cinder_server.py"
HOST = "storage-1@lvm"
# The services share a process. On the tests' broker, Cinder's queues would have the names of other tests' queues.
BUS = "fake:/"

OPTIONS = """\
[DEFAULT]
host = storage-1
enabled_backends = lvm
quota_snapshots = -1
[lvm]
volume_driver = cinder.volume.drivers.lvm.LVMVolumeDriver
volume_backend_name = pool1
volume_group = {group}
lvm_type = default
lvm_conf_file = {system_dir}/lvm.conf
target_helper = fake
"""


class WholeCinder(Cinder):
    """A Cinder without records, whose own volume service has a volume group as the backend `HOST`."""

    def __init__(self, database: str, group: MetadataGroup, folder: Path) -> None:
        more = OPTIONS.format(group=group.name, system_dir=group.system_dir)
        token = f"admin:{PROJECT}"
        super().__init__(BUS, "cinder", "noauth", more, token, PROJECT, folder, database)
        self._group = group

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-P", SERVER, str(self.port)]

    def environment(self) -> Mapping[str, str]:
        # Cinder's `lvrename` does not use the file of the option `lvm_conf_file`.
        path = {"PATH": f"{os.defpath}:/usr/sbin:/sbin", "LVM_SYSTEM_DIR": str(self._group.system_dir)}
        return {**super().environment(), **path}
