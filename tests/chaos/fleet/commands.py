"""Check a deployment with snapmanage's own commands."""

import sqlalchemy as sa

from snapmanage.testing.services.deployment import PROJECT
from tests.chaos.fleet.fleet import Fleet

_AVAILABLE = "status = 'available' AND project_id = :project"
_FAILED = "status = 'error' AND operation = 'manage' AND project_id = :project"
# In the order of the lines that `quota show` prints.
USED = (
    f"SELECT count(*) FROM snapshots WHERE {_AVAILABLE}",
    f"SELECT coalesce(sum(size_gb), 0) FROM snapshots WHERE {_AVAILABLE}",
    f"SELECT count(*) FROM volumes WHERE {_AVAILABLE}",
    f"SELECT (SELECT count(*) FROM snapshots WHERE {_FAILED}) + (SELECT count(*) FROM volumes WHERE {_FAILED})",
)


def check_commands(fleet: Fleet) -> None:
    """Check that the audit log is complete and the quota agrees with the records."""
    manage = fleet.daemon("manage", next(iter(fleet.storages)))
    verified = manage.run("audit", "verify")
    assert verified.returncode == 0, verified.stdout
    with fleet.engine.connect() as conn:
        expected = [int(conn.execute(sa.text(each), {"project": PROJECT}).scalar_one()) for each in USED]
    shown = manage.run("quota", "show", PROJECT).stdout
    assert [int(line.rpartition(" in use ")[2]) for line in shown.splitlines()] == expected, shown
