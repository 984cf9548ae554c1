"""Write snapshots into Cinder's database as its API does, and cast their requests as its scheduler does.

Arguments: the configuration file, the host of the volume service, the number of snapshots. The program prints `ready`
when the snapshots are written, and casts when it reads a line.
"""

import sys
from typing import Any

from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)

PROJECT = "0123456789abcdef0123456789abcdef"


def write(admin: Any, host: str, count: int) -> list[Any]:
    """Write a volume of the host and `count` snapshots of it, and return the snapshots."""
    from cinder import objects

    values = {"size": 1, "host": host, "status": "available", "project_id": PROJECT, "user_id": "admin"}
    volume = objects.Volume(
        admin, volume_type_id=objects.VolumeType.get_by_name_or_id(admin, "__DEFAULT__").id, **values
    )
    volume.create()
    return [_write_snapshot(admin, volume, number) for number in range(count)]


def _write_snapshot(admin: Any, volume: Any, number: int) -> Any:
    from cinder import objects

    snapshot = objects.Snapshot(
        admin,
        volume_id=volume.id,
        volume_size=volume.size,
        volume_type_id=volume.volume_type_id,
        status="creating",
        project_id=PROJECT,
        user_id="admin",
        display_name=f"snapshot {number}",
        cgsnapshot_id=None,
        group_snapshot_id=None,
    )
    snapshot.create()
    return snapshot


def main(configuration: str, host: str, count: int) -> None:
    from cinder import context, objects, rpc
    from cinder.common import config
    from cinder.volume import rpcapi

    objects.register_all()
    config.CONF(["--config-file", configuration], project="cinder")
    rpc.init(config.CONF)
    admin = context.RequestContext("admin", PROJECT, is_admin=True)
    snapshots = write(admin, host, count)
    api = rpcapi.VolumeAPI()
    print("ready", flush=True)
    sys.stdin.readline()
    for number, snapshot in enumerate(snapshots):
        api.manage_existing_snapshot(admin, snapshot, {"source-name": f"snapshot-{number}"}, host)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
