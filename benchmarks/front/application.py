"""The API on a SQLite database, as an application for any WSGI server; the database has a volume and its server."""

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oslo_config import cfg

from benchmarks import seed
from snapmanage.api import app
from snapmanage.api.access.noauth import NoAuth
from snapmanage.api.access.policy import Policy
from snapmanage.api.request import Limits, Service
from snapmanage.bus.inprocess import InProcessBus
from snapmanage.bus.names import Names
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.rules import Rules
from snapmanage.store.engine import schema
from snapmanage.store.engine.database import Database, connect

FOLDER = "SNAPMANAGE_FRONT_FOLDER"
SERVER = "storage-1@pool1"
VOLUME_ID = seed.derived_id(SERVER, seed.VOLUME)
SLOW_SECONDS = 2.0
LARGE_BYTES = 1 << 23


def prepare(folder: Path) -> None:
    """Make the database that `make` opens."""
    db = _database(folder)
    schema.sync(db.engine)
    with db.engine.begin() as conn:
        seed.add_heartbeat(conn, SERVER)
        seed.add_volume(conn, SERVER)
    db.close()


def make() -> Any:
    """Return the application; the environment names the folder of its database."""
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    application = Application(_database(Path(os.environ[FOLDER])), OutboxWriter(), Rules())
    authenticate = NoAuth(anywhere=True)
    return _with_oddities(
        app.build(Service(application, InProcessBus(Names(), 60), Limits(), authenticate, Policy(conf)))
    )


def _database(folder: Path) -> Database:
    return connect(f"sqlite:///{folder}/snapmanage.db")


def _with_oddities(application: Any) -> Any:
    """Add a slow request and a large answer."""

    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/slow":
            time.sleep(SLOW_SECONDS)
            start_response("200 OK", [("Content-Length", "4")])
            return [b"slow"]
        if environ["PATH_INFO"] == "/large":
            start_response("200 OK", [("Content-Length", str(LARGE_BYTES))])
            return [b"x" * LARGE_BYTES]
        answer: Iterable[bytes] = application(environ, start_response)
        return answer

    return serve
