"""snapmanage-status upgrade: check a deployment before its processes are restarted with this version."""

from collections.abc import Callable
from functools import partial
from typing import Any

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck
from oslo_upgradecheck.upgradecheck import Code, Result
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import errors
from snapmanage.cmd.status.checks import audit, broker, options, outbox, policy, quarantine, queues, schema
from snapmanage.core.readiness import in_one_line

Check = Callable[[cfg.ConfigOpts], Result]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("Database schema", schema.check),
    ("RabbitMQ version", broker.check),
    ("Queues", queues.check),
    ("Policy file", policy.check),
    ("Unknown options", options.check),
    ("Audit log", audit.check),
    ("Quarantine", quarantine.check),
    ("Outbox", outbox.check),
)


class UpgradeChecks(upgradecheck.UpgradeCommands):
    """The checks, as the library carries them out and prints them."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self._upgrade_checks = tuple((title, partial(_result, check, conf)) for title, check in CHECKS)


def add_commands(commands: Any) -> None:
    """Add `upgrade` and its action to the parser."""
    actions = commands.add_parser("upgrade", help="check a deployment before an upgrade").add_subparsers(
        dest="action", required=True
    )
    check = actions.add_parser(
        "check",
        help="check schema, broker, queues, policy file, options, audit log, quarantine and outbox, and print the "
        f"remedies; exit code {int(Code.WARNING)} for a warning, {int(Code.FAILURE)} for a failure that prevents the "
        "upgrade",
    )
    check.add_argument("--json", action="store_true", help="print the results as JSON")
    check.set_defaults(run=_check)


def _check(conf: cfg.ConfigOpts) -> int:
    upgradecheck.CONF = conf  # in which the library looks for --json
    return int(UpgradeChecks(conf).check())


def _result(check: Check, conf: cfg.ConfigOpts, commands: UpgradeChecks) -> Result:
    """Return the result of a check; one that can't be carried out is a warning."""
    try:
        return check(conf)
    except (errors.SnapmanageError, SQLAlchemyError) as error:
        return Result(Code.WARNING, f"Not checked: {in_one_line(str(error))}")
