"""Name the record that owns an object, where a request for the object is refused.

The record is looked up after the refused transaction, so that requests which succeed cost no query more.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from snapmanage import errors
from snapmanage.manage.application import Application
from snapmanage.store import ownership


@contextmanager
def named(app: Application) -> Iterator[None]:
    """Let an `AlreadyManaged` of the block name the owner."""
    try:
        yield
    except errors.AlreadyManaged as error:
        raise explained(app, error) from error


def explained(app: Application, error: Exception) -> Exception:
    """Return an `AlreadyManaged` with the owner, if its keys have one; return another error as it is."""
    if not isinstance(error, errors.AlreadyManaged) or not error.keys:
        return error
    with app.db.read() as conn:
        found = ownership.holder(conn, error.keys, error.refused_id)
    if found is None:
        return error
    kind, owner_id, project_id = found
    return errors.AlreadyManaged(f"{error}: it is {kind} {owner_id}", owner_id=owner_id, project_id=project_id)
