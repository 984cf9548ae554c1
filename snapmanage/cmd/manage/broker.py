"""snapmanage-manage broker: whether the broker's policies could drop what it has confirmed."""

import sys
from typing import Any

from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd.wiring import broker

UNKNOWN, FOUND = 1, 2


def add_commands(commands: Any) -> None:
    """Add `broker` and its actions to the parser."""
    actions = commands.add_parser("broker", help="the broker's policies").add_subparsers(dest="action", required=True)
    check = actions.add_parser(
        "check",
        help="judge the policies of this host's queues, by broker_management_url; "
        f"exit code {FOUND}: one could drop messages, or a queue is not as it should be, {UNKNOWN}: it can't be told",
    )
    check.set_defaults(run=_check)


def _check(conf: cfg.ConfigOpts) -> int:
    if not conf.broker_management_url:
        raise errors.ConfigurationError(
            "broker_management_url is missing: only RabbitMQ's management API shows policies"
        )
    try:
        found = broker.look(conf, lambda names: [*broker.server_keys(conf, names), *names.audited_queues()])
    except errors.Unavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return UNKNOWN
    for finding in found:
        print(f"{'LOSES' if finding.loses else 'NOTE'}: {finding.text}")
    return FOUND if found else 0
