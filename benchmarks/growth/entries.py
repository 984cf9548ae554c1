"""Operations, with renames, on backends of a thousand and of a hundred thousand entries."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import consume
from benchmarks.growth import cases
from benchmarks.storage import service
from benchmarks.storage.backends import file
from benchmarks.storage.measure import RENAMED
from benchmarks.world import World

SMALL, LARGE = 1000, 100_000
OPERATIONS = 1000


def measure_fake(world: World) -> dict[str, Any]:
    before, large, after = (consume.run(world, OPERATIONS, entries=count) for count in (SMALL, LARGE, SMALL))
    return cases.compare(before, large, after, entries=[SMALL, LARGE])


def measure_file(world: World) -> dict[str, Any]:
    before, large, after = (_measure_files(world, count) for count in (SMALL, LARGE, SMALL))
    return cases.compare(before, large, after, entries=[SMALL, LARGE])


def _measure_files(world: World, count: int) -> dict[str, Any]:
    """Return the figures of managing the first files of a directory."""
    with TemporaryDirectory(prefix="growth-") as folder, file.made(Path(folder), count) as backend:
        first = {volume: names[:OPERATIONS] for volume, names in backend.snapshots.items()}
        figures: dict[str, Any] = service.run(world, replace(backend, snapshots=first), RENAMED)["manage"]
        return figures
