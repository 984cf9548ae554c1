"""The client commands against a Cinder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from snapmanage.testing.services.process import LOOPBACK
from snapmanage.testing.waiting import until
from tests.functional.adopting.shell import Shell
from tests.functional.client import Client
from tests.services.cinder import Cinder


def commands(cinder: Cinder, folder: Path) -> Shell:
    """Return the commands, run by an administrator of the Cinder's project."""
    folder.mkdir()
    shell = Shell(Client(f"{LOOPBACK}:{cinder.port}", cinder.project), folder)
    shell.environment |= {"OS_AUTH_TYPE": "admin_token", "OS_TOKEN": cinder.token}
    return shell


def kill_when(shell: Shell, is_reached: Callable[[], bool], *arguments: str) -> None:
    """Run a command, and kill it as soon as it has reached a point."""
    process = shell.daemon(*arguments)
    process.launch()
    until(lambda: is_reached() or not process.alive, f"{arguments[0]} to reach the point of its kill", 120)
    process.kill()


def states(plan: str) -> list[tuple[str, str]]:
    """Return the key and the state of each line of a plan's journal; the last line may be incomplete."""
    path = Path(f"{plan}.journal")
    lines = path.read_text().splitlines()[1:] if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [(each["key"], each["state"]) for each in found]


def count(plan: str, kind: str, state: str) -> int:
    """Return how many snapshots (`s`) or volumes (`v`) have had a state."""
    return len({key for key, reached in states(plan) if key.startswith(kind) and reached == state})


def records(cinder: Cinder, table: str) -> list[Any]:
    """Return the ids and the statuses of all records that Cinder ever made in a table, the deleted ones included."""
    engine = sa.create_engine(cinder.database)
    with engine.connect() as connection:
        found = connection.execute(sa.text(f"SELECT id, status FROM {table}")).all()
    engine.dispose()
    return list(found)
