"""Eight clients at one time on a whole snapmanage, whose database a test chooses."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from snapmanage.drivers.fake import FakeDriver
from snapmanage.store.engine.database import database_clock
from snapmanage.testing.waiting import until
from tests.functional.world import SERVER, VOLUME, World, a_world

CLIENTS = 8
SNAPSHOTS = 64
SECONDS = 15


@contextmanager
def a_world_on(folder: Path, url: str, snapshots: int = SNAPSHOTS) -> Iterator[World]:
    """A world on a database, whose time is the database's own, with one volume of that many snapshots."""
    with a_world(folder, {SERVER: FakeDriver(1, snapshots)}, url=url) as world:
        world.db.clock = database_clock
        yield world


def statuses_after_load(world: World, snapshots: int = SNAPSHOTS) -> list[str]:
    """Ask for all snapshots of the volume with eight clients; return the statuses once none is in progress."""
    volume_id = world.known_volume()

    def ask(number: int) -> str:
        return world.asked(volume_id, f"{VOLUME}-snapshot-{number}", name=f"n\N{CAMERA}{number}", description="\\'\"")

    with ThreadPoolExecutor(CLIENTS) as pool:
        made = list(pool.map(ask, range(1, snapshots + 1)))

    def look() -> list[str]:
        listed = world.client.get("snapshots/detail", params={"limit": snapshots}).json()["snapshots"]
        found = [each["status"] for each in listed if each["id"] in made]
        return found if len(found) == snapshots and not {"creating"} & set(found) else []

    return until(look, "every snapshot to be settled", SECONDS)
