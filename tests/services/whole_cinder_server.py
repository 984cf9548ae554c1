"""Cinder's API, scheduler and volume service in one process: create the database, then serve on the loopback.

`whole_cinder.py` runs this program as root with `OS_CINDER_CONFIG`. All parts are Cinder's own.
"""

import os
import sys

from oslo_service import backend

backend.init_backend(backend.BackendType.THREADING)  # Cinder imports eventlet, and runs without it


def start_services(host: str, backends: list[str]) -> None:
    """Start the volume service of each backend, and then the scheduler, which asks them for their capabilities."""
    from cinder import service

    for name in backends:
        service.Service.create(f"{host}@{name}", "cinder-volume", service_name=name, coordination=True).start()
    service.Service.create(binary="cinder-scheduler").start()


def main(port: int) -> None:
    from cheroot import wsgi
    from cinder import objects, privsep
    from cinder.common import config
    from cinder.db import migration
    from cinder.wsgi.wsgi import initialize_application

    sys.argv[1:] = ["--config-file", os.environ["OS_CINDER_CONFIG"]]
    objects.register_all()
    config.CONF(sys.argv[1:], project="cinder")
    migration.db_sync()
    application = initialize_application()
    privsep.sys_admin_pctxt.set_client_mode(False)  # commands of root run in this process, not by its helper
    start_services(config.CONF.host, config.CONF.enabled_backends)
    wsgi.Server(("127.0.0.1", port), application, numthreads=8).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
