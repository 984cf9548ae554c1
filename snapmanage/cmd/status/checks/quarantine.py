"""No message waits in the quarantine for an operator."""

from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Code, Result

from snapmanage.cmd.wiring import parts
from snapmanage.core.values.text import numbered
from snapmanage.manage.maintenance import quarantine


def check(conf: cfg.ConfigOpts) -> Result:
    with parts.opened_database(conf) as db:
        entries = quarantine.entries(db)
    if not entries:
        return Result(Code.SUCCESS)
    count = numbered(len(entries), "message")
    return Result(
        Code.WARNING,
        f"The quarantine has {count}. See `snapmanage-manage quarantine list`; retry or drop each of them first.",
    )
