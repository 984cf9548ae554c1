"""The checks of the broker: its policies, which could drop confirmed messages, and the state of its queues."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import kombu
from oslo_config import cfg

from snapmanage import errors
from snapmanage.bus.names import Names
from snapmanage.bus.rabbit import inspection, policies
from snapmanage.bus.rabbit.connecting import BROKEN
from snapmanage.bus.rabbit.policies import Finding
from snapmanage.cmd.wiring import broker_connection, configuration, management, parts
from snapmanage.core.maintenance import checks
from snapmanage.core.maintenance.checks import Check, State

LOG = logging.getLogger(__name__)

# The transport of `snapmanage standalone`.
IN_PROCESS = "fake:"


def server_keys(conf: cfg.ConfigOpts, names: Names) -> list[str]:
    """Return the routing keys of the queues of this host's servers."""
    host = conf.cluster or conf.host
    keys = [key for backend in conf.enabled_backends for key in names.server_queues(f"{host}@{backend}")]
    return list(dict.fromkeys(keys))


@contextmanager
def connected(conf: cfg.ConfigOpts) -> Iterator[kombu.Connection]:
    """Open a connection; raise `Unavailable` if the broker can't be reached, or ends it."""
    from snapmanage.bus.rabbit.connecting import BROKEN
    from snapmanage.cmd.wiring import broker_connection

    try:
        with broker_connection.connector(conf)(0) as connection:
            yield connection
    except BROKEN as error:
        raise errors.Unavailable(f"the broker can't be reached: {error}") from error


def require_lossless(conf: cfg.ConfigOpts, keys: Callable[[Names], Sequence[str]]) -> None:
    """Raise `ConfigurationError` if a policy could drop messages of these queues; log a warning if the check fails."""
    if not conf.broker_management_url:
        return
    try:
        found = check(conf, keys)
    except errors.Unavailable as error:
        LOG.warning("The broker's policies were not checked: %s. Run `snapmanage-manage broker check` later.", error)
        return
    for finding in found:
        if finding.loses:
            raise errors.ConfigurationError(finding.text)
        LOG.warning("%s.", finding.text)


def check(conf: cfg.ConfigOpts, keys: Callable[[Names], Sequence[str]]) -> list[Finding]:
    """Declare queues, and return their problems; raise `Unavailable` if the broker or the API does not answer."""
    bus, names = parts.connect_bus(conf)
    topology = parts.topology(conf, names)
    try:
        bus.declare(keys(names))
    finally:
        bus.close()
    return [
        finding
        for key in keys(names)
        for name in (topology.dead_letter_name(key), topology.name(key))
        for finding in policies.findings(management.describe(conf, name), topology.queue_type)
    ]


def health(conf: cfg.ConfigOpts, servers: Sequence[str]) -> list[Check]:
    """Return the checks of the broker and of the queues of servers and of snapmanage-audit; nothing is declared."""
    if conf.transport_url.startswith(IN_PROCESS):
        return [Check("broker", State.OK, "there is none: everything runs in one process")]
    names = configuration.names(conf)
    topology = parts.topology(conf, names)
    keys = dict.fromkeys([*(queue for server in servers for queue in names.server_queues(server)), *names.event_keys()])
    try:
        with broker_connection.connector(conf)(0) as connection:
            queues = inspection.inspect(connection, map(topology.name, keys))
            dead_letters = inspection.inspect(connection, map(topology.dead_letter_name, keys))
    except (*BROKEN, errors.ConfigurationError) as error:
        return [checks.broker_is_away(str(error))]
    return checks.of_broker(queues, [each for each in dead_letters if each.messages is not None])
