"""snapmanage-manage: operate a deployment."""

import sys
from typing import Any

from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd.manage import (
    audit,
    broker,
    db,
    health,
    hosts,
    purge,
    quarantine,
    quotas,
    reconciliation,
    services,
    stuck,
    upstream,
)
from snapmanage.cmd.process import running
from snapmanage.cmd.wiring import configuration

MODULES = (
    db,
    audit,
    services,
    quarantine,
    stuck,
    reconciliation,
    broker,
    quotas,
    purge,
    upstream,
    health,
    hosts,
)


@running.program
def main() -> int | None:
    cfg.CONF.register_cli_opt(cfg.SubCommandOpt("command", title="commands", handler=_add_commands))
    conf = configuration.load(sys.argv[1:], "snapmanage-manage")
    if conf.command.name is None:
        raise errors.ConfigurationError("snapmanage-manage requires a command; --help lists the commands")
    exit_code: int | None = conf.command.run(conf)
    return exit_code


def _add_commands(commands: Any) -> None:
    for module in MODULES:
        module.add_commands(commands)
