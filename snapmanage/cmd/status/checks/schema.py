"""The schema of the database is that of this version."""

from contextlib import closing

from oslo_config import cfg
from oslo_upgradecheck.upgradecheck import Code, Result
from sqlalchemy.exc import SQLAlchemyError

from snapmanage import errors
from snapmanage.cmd.wiring import configuration
from snapmanage.core.readiness import in_one_line
from snapmanage.store.engine import schema


def check(conf: cfg.ConfigOpts) -> Result:
    try:
        with closing(configuration.database(conf)) as db:
            schema.require_current(db.engine)
    except (errors.SnapmanageError, SQLAlchemyError) as error:
        return Result(Code.FAILURE, in_one_line(str(error)))
    return Result(Code.SUCCESS)
