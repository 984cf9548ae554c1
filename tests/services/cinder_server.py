"""Cinder's API and a scheduler in one process: create the database, then serve on the loopback.

`cinder.py` runs this program with `OS_CINDER_CONFIG`. The scheduler is the part of Cinder's own that casts to the
volume's server, without the check of the capabilities that only a running cinder-volume publishes.
"""

import os
import sys
from typing import Any

from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)  # Cinder imports eventlet, and runs without it


def create_records(project: str, host: str, volume_id: str) -> None:
    """Create the tables, the service of a host, and an available volume on it, unless an earlier start did."""
    from cinder import context, objects
    from cinder.db import api as db
    from cinder.db import migration, models
    from cinder.volume import rpcapi

    migration.db_sync()
    admin = context.RequestContext("admin", project, is_admin=True)
    if db.service_get_all(admin):
        return
    versions = {
        "rpc_current_version": rpcapi.VolumeAPI.RPC_API_VERSION,
        "object_current_version": objects.base.OBJ_VERSIONS.get_current(),
    }
    service = {"host": host, "binary": "cinder-volume", "topic": "cinder-volume", "report_count": 1}
    db.service_create(admin, service | versions)
    volume_type = db.volume_type_create(admin, {"name": "any", "extra_specs": {}})
    values = {"size": 1, "host": host, "status": "available", "project_id": project, "user_id": "admin"}
    volume = objects.Volume(admin, volume_type_id=volume_type["id"], display_name="disk", **values)
    volume.create()
    with db.main_context_manager.writer.using(admin):
        admin.session.query(models.Volume).filter_by(id=volume.id).update({"id": volume_id})


class Scheduler:
    """The scheduler's method for a snapshot that exists, for the case that the host takes it."""

    def manage_existing_snapshot(self, context: Any, volume: Any, snapshot: Any, ref: Any, **request: Any) -> None:
        from cinder.volume import rpcapi

        rpcapi.VolumeAPI().manage_existing_snapshot(context, snapshot, ref, volume.service_topic_queue)


def main(port: int, project: str, host: str, volume_id: str) -> None:
    import oslo_messaging
    from cheroot import wsgi
    from cinder import objects, rpc
    from cinder.common import config
    from cinder.wsgi.wsgi import initialize_application

    sys.argv[1:] = ["--config-file", os.environ["OS_CINDER_CONFIG"]]
    objects.register_all()
    config.CONF(sys.argv[1:], project="cinder")
    create_records(project, host, volume_id)
    application = initialize_application()
    endpoint = Scheduler()
    endpoint.target = oslo_messaging.Target(version="3.12")  # type: ignore[attr-defined]
    target = oslo_messaging.Target(topic="cinder-scheduler", server=host.partition("@")[0], version="3.12")
    rpc.get_server(target, [endpoint], objects.base.CinderObjectSerializer()).start()
    wsgi.Server(("127.0.0.1", port), application, numthreads=4).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
