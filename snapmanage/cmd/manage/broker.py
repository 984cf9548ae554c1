"""snapmanage-manage broker: find broker policies that could drop messages."""

from typing import Any

from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd.manage import formats
from snapmanage.cmd.process import output
from snapmanage.cmd.wiring import broker

UNKNOWN, FOUND = 1, 2


def add_commands(commands: Any) -> None:
    """Add `broker` and its actions to the parser."""
    actions = commands.add_parser("broker", help="check the broker's policies").add_subparsers(
        dest="action", required=True
    )
    check = actions.add_parser(
        "check",
        help="check the policies and the arguments of this host's queues; needs broker_management_url; exit code "
        f"{FOUND} if a policy could drop messages or a queue has wrong arguments, {UNKNOWN} if the management API or "
        "the broker does not answer",
    )
    formats.add_option(check)
    check.set_defaults(run=_check)


def _check(conf: cfg.ConfigOpts) -> int:
    if not conf.broker_management_url:
        raise errors.ConfigurationError(
            "[DEFAULT] broker_management_url is missing; set it to the URL of RabbitMQ's management API, which alone "
            "shows policies"
        )
    try:
        found = broker.check(conf, lambda names: [*broker.server_keys(conf, names), *names.event_keys()])
    except errors.Unavailable as error:
        output.error(str(error))
        return UNKNOWN
    with formats.report(conf) as report:
        for finding in found:
            kind = "LOSES" if finding.loses else "NOTE"
            report.add(f"{kind}: {finding.text}", kind=kind, text=finding.text)
    if not found:
        output.note("No policy of the broker drops messages, and each queue has the right arguments.")
    return FOUND if found else 0
