"""Warnings at the start of a process about records of hosts that no server serves."""

import logging
from collections.abc import Sequence
from contextlib import closing

from oslo_config import cfg

from snapmanage.cmd.wiring import configuration, parts
from snapmanage.core.maintenance.hosts import UnservedHost
from snapmanage.core.values.location import Location
from snapmanage.manage.application import Application, OutboxWriter
from snapmanage.manage.maintenance import hosts

LOG = logging.getLogger(__name__)


def warn(conf: cfg.ConfigOpts, serves: bool) -> None:
    """Log each host with records that is not served; a process that `serves` starts its own backends now."""
    own = own_servers(conf) if serves else []
    with closing(parts.open_database(conf)) as db:
        found = hosts.unserved(Application(db, OutboxWriter(), configuration.rules(conf)), own)
    for each in found:
        LOG.warning("%s", text(conf, each, serves))


def own_servers(conf: cfg.ConfigOpts) -> Sequence[str]:
    """Return the names of this host's servers."""
    return [f"{conf.cluster or conf.host}@{backend}" for backend in conf.enabled_backends]


def text(conf: cfg.ConfigOpts, unserved: UnservedHost, serves: bool = True) -> str:
    """Return the numbers of the records with the remedy, which may be this process's own configuration."""
    location = Location.parse(unserved.server)
    if serves and location.host == (conf.cluster or conf.host):
        return (
            f"{unserved}: backend {location.backend} is not in [DEFAULT] enabled_backends here; enable it, or give "
            f"its records to another backend with `snapmanage-manage host move {unserved.server} HOST@BACKEND`"
        )
    return (
        f"{unserved}: start snapmanage-volume on that host, or give its records to the host that serves them now with "
        f"`snapmanage-manage host move {unserved.server} HOST@BACKEND`"
    )
