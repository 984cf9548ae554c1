"""The whole of snapmanage over a laboratory's driver."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snapmanage.drivers.base import Driver
from snapmanage.volume.worker import Pace
from tests.functional.world import SERVER, World, a_world


@contextmanager
def world_of(folder: Path, driver: Driver) -> Iterator[World]:
    """Start a world that looks for work as seldom as a real server does.

    Messages bring all its work here, and each look takes processor time from the backend.
    """
    with a_world(folder, {SERVER: driver}, pace=Pace(), relay_interval_seconds=1.0) as world:
        yield world
