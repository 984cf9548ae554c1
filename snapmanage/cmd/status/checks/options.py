"""The configuration files have no option that nothing reads."""

from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Code, Result

from snapmanage.cmd.wiring import unknown_options


def check(conf: cfg.ConfigOpts) -> Result:
    found = unknown_options.find(conf, with_backends=True)
    if not found:
        return Result(Code.SUCCESS)
    return Result(
        Code.WARNING, " ".join(f"{unknown}." if unknown.nearest is None else str(unknown) for unknown in found)
    )
