"""A running snapmanage with the driver of a laboratory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snapmanage.drivers.protocol import Driver
from snapmanage.volume.limits import BackendLimits
from tests.functional.client import SERVER
from tests.functional.world import World, running_world


@contextmanager
def world_of(folder: Path, driver: Driver) -> Iterator[World]:
    """Start a world whose server polls the database at the default interval.

    The work arrives by messages, and a poll every 20 ms would take processor time from the backend.
    """
    with running_world(folder, {SERVER: driver}, backend_limits=BackendLimits(), relay_interval_seconds=1.0) as world:
        yield world
