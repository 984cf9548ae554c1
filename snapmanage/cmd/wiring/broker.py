"""The check of the broker's policies, which could drop confirmed messages."""

import json
import logging
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from oslo_config import cfg

from snapmanage import errors
from snapmanage.bus.names import Names
from snapmanage.bus.rabbit import policies
from snapmanage.bus.rabbit.policies import Finding
from snapmanage.cmd.wiring import parts

LOG = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10
# The management API shows the policy of a new queue after some seconds.
POLICY_TIMEOUT_SECONDS = 30
POLL_SECONDS = 0.5
_POLICY = "effective_policy_definition"


def server_keys(conf: cfg.ConfigOpts, names: Names) -> list[str]:
    """Return the routing keys of the queues of this host's servers."""
    host = conf.cluster or conf.host
    keys = [key for backend in conf.enabled_backends for key in names.server_queues(f"{host}@{backend}")]
    return list(dict.fromkeys(keys))


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
        for finding in policies.findings(_description(conf, name), topology.queue_type)
    ]


def _description(conf: cfg.ConfigOpts, queue: str) -> Mapping[str, Any]:
    """Return the management API's description of a queue, once it includes the policy: after 5 s for a new queue."""
    deadline = time.monotonic() + POLICY_TIMEOUT_SECONDS
    while _POLICY not in (shown := _fetch(conf, queue)):
        if time.monotonic() > deadline:
            raise errors.Unavailable(
                f"the management API does not show the policy of queue {queue}; check that statistics are enabled"
            )
        time.sleep(POLL_SECONDS)
    return shown


def _fetch(conf: cfg.ConfigOpts, queue: str) -> Mapping[str, Any]:
    parsed = urlsplit(conf.broker_management_url)
    address = parsed.netloc.rpartition("@")[2]
    path = f"{parsed.path.rstrip('/')}/api/queues/{quote(parts.virtual_host(conf), safe='')}/{quote(queue, safe='')}"
    request = urllib.request.Request(f"{parsed.scheme}://{address}{path}")
    login = f"{unquote(parsed.username or 'guest')}:{unquote(parsed.password or 'guest')}"
    request.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            shown: Mapping[str, Any] = json.load(answer)
            return shown
    except (OSError, ValueError) as error:
        raise errors.Unavailable(f"the management API at {address} can't show queue {queue}: {error}") from error
