"""snapmanage-status: report whether a process is ready, and whether a deployment can be upgraded."""

import sys
from typing import Any

from oslo_config import cfg

from snapmanage.cmd.process import running
from snapmanage.cmd.status import health, upgrade
from snapmanage.cmd.wiring import configuration

MODULES = (health, upgrade)


@running.program
def main() -> int | None:
    cfg.CONF.register_cli_opt(cfg.SubCommandOpt("command", title="commands", handler=_add_commands))
    conf = configuration.load(sys.argv[1:], "snapmanage-status")
    exit_code: int | None = conf.command.run(conf)
    return exit_code


def _add_commands(commands: Any) -> None:
    for module in MODULES:
        module.add_commands(commands)
