"""Check a deployment with snapmanage's own commands."""

import sqlalchemy as sa

from snapmanage.testing.services.deployment import PROJECT
from tests.chaos.fleet.fleet import Fleet


def check_commands(fleet: Fleet) -> None:
    """Check that the audit log is complete and the quota agrees with the records."""
    manage = fleet.daemon("manage", next(iter(fleet.storages)))
    verified = manage.run("audit", "verify")
    assert verified.returncode == 0, verified.stdout
    used = sa.text(
        "SELECT count(*), coalesce(sum(size_gb), 0) FROM snapshots WHERE status = 'available' AND project_id = :project"
    )
    with fleet.engine.connect() as conn:
        expected = [int(amount) for amount in conn.execute(used, {"project": PROJECT}).one()]
    shown = manage.run("quota", "show", PROJECT).stdout
    assert [int(line.rpartition(" in use ")[2]) for line in shown.splitlines()] == expected, shown
