"""Find out whether the database can be reached, for the health check and for the answer to a failed request."""

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from snapmanage.manage.application import Application
from snapmanage.store.engine import failures


def database_reachable(app: Application) -> bool:
    """Return whether the database answers a query."""
    try:
        app.db.now()
    except SQLAlchemyError:
        return False
    return True


def database_away(error: Exception) -> bool:
    """Return whether an error means that the database is away, refuses writes for now, or has no free connection."""
    return isinstance(error, PoolTimeout) or failures.away(error)
