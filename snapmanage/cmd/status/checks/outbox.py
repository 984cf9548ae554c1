"""No message waits in the outbox for long."""

from datetime import timedelta

from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Code, Result

from snapmanage.cmd.wiring import parts
from snapmanage.core.values.text import numbered
from snapmanage.store import outbox

LONGEST = timedelta(minutes=1)


def check(conf: cfg.ConfigOpts) -> Result:
    with parts.opened_database(conf) as db, db.read() as conn:
        late = outbox.older_than(conn, db.clock(conn) - LONGEST)
    if not late:
        return Result(Code.SUCCESS)
    count = numbered(late, "message has", "messages have")
    return Result(
        Code.WARNING,
        f"{count} been in the outbox for longer than a minute. Check that the broker and the relays are up; "
        "`snapmanage-manage stuck` names the operations.",
    )
