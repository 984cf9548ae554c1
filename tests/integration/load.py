"""Eight simultaneous clients of snapmanage in one process, on a database that a test chooses."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from snapmanage.drivers.fake import FakeDriver
from snapmanage.store.engine.database import database_clock
from snapmanage.testing.waiting import until
from tests.functional.client import SERVER
from tests.functional.world import VOLUME, World, running_world

CLIENTS = 8
SNAPSHOTS = 64
SECONDS = 15


@contextmanager
def running_world_on(folder: Path, url: str, snapshots: int = SNAPSHOTS) -> Iterator[World]:
    """Run a world with the database's own clock, and with one volume of `snapshots` snapshots."""
    with running_world(folder, {SERVER: FakeDriver(1, snapshots)}, url=url) as world:
        world.db.clock = database_clock
        yield world


def statuses_after_load(world: World, snapshots: int = SNAPSHOTS) -> list[str]:
    """Manage all snapshots of the volume with eight clients; return the statuses once all are settled."""
    volume_id = world.register_volume()

    def manage(number: int) -> str:
        return world.request_manage(
            volume_id, f"{VOLUME}-snapshot-{number}", name=f"n\N{CAMERA}{number}", description="\\'\""
        )

    with ThreadPoolExecutor(CLIENTS) as pool:
        made = list(pool.map(manage, range(1, snapshots + 1)))

    def settled() -> list[str]:
        listed = world.client.get("snapshots/detail", params={"limit": snapshots}).json()["snapshots"]
        found = [each["status"] for each in listed if each["id"] in made]
        return found if len(found) == snapshots and not {"creating"} & set(found) else []

    return until(settled, "every snapshot to be settled", SECONDS)
