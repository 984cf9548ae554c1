"""The chain of the newest rows of the audit log is whole."""

from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Code, Result

from snapmanage.audit import verification
from snapmanage.cmd.wiring import parts

# The whole log may be large; `snapmanage-manage audit verify` reads it.
ROWS = 10_000


def check(conf: cfg.ConfigOpts) -> Result:
    with parts.opened_database(conf) as db, verification.opened(db) as log:
        broken = log.recent_break(ROWS)
    if broken:
        return Result(Code.FAILURE, f"{broken}. Run `snapmanage-manage audit verify`, and compare with a checkpoint.")
    return Result(Code.SUCCESS)
