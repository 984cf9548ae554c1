"""Cinder's own driver on the same backend: the calls with which cinder-volume manages a snapshot, one after the other.

The driver runs in the process in which snapmanage runs vendor drivers, without a service of Cinder.
"""

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.storage import counting
from benchmarks.storage.backends import Backend
from benchmarks.storage.backends.backend import Vendor
from snapmanage import errors
from snapmanage.drivers.cinder.process import CinderProcess
from snapmanage.drivers.cinder.vendors import vendor_of

CALL_SECONDS = 300


def run(backend: Backend, vendor: Vendor, seconds: float) -> dict[str, Any]:
    """Manage snapshots for at most `seconds`, and restore their names with the backend's own renames.

    Return the reason if Cinder's driver can't be had.
    """
    python = os.environ.get("CINDER_PYTHON", "")
    with (
        TemporaryDirectory() as folder,
        counted(Path(folder), vendor) as counts,
        closing(CinderProcess(python, vendor.driver, vendor.section, CALL_SECONDS)) as process,
    ):
        try:
            process.call("check")
        except errors.SnapmanageError as error:
            return {"missing": f"Cinder's driver does not start: {error}"}
        return _measure(process, backend, seconds, counts)


@contextmanager
def counted(folder: Path, vendor: Vendor) -> Iterator[Path]:
    """Let the processes that start in the block count, and yield the file of the counts."""
    path, before = folder / "counts", dict(os.environ)
    os.environ.update(counting.environment(folder, path) | dict(vendor.environment))
    try:
        yield path
    finally:
        os.environ.clear()
        os.environ.update(before)


def _measure(process: CinderProcess, backend: Backend, seconds: float, counts: Path) -> dict[str, Any]:
    before, done = counting.read(counts), list[str]()
    started = time.perf_counter()
    for volume, name in spread(backend.snapshots):
        _manage(process, backend, volume, name)
        done.append(name)
        if time.perf_counter() - started > seconds:
            break
    elapsed = time.perf_counter() - started
    used = counting.read(counts)
    used.subtract(before)
    with backend.renaming() as rename:
        for name in done:
            rename(backend.renamed(name), name)
    ms = round(1000 * elapsed / len(done), 3)
    return {"operations": len(done), "ms": ms, **counting.per_operation(used, len(done))}


def spread(snapshots: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield the snapshots with their volumes: the first ones of all volumes, then the second ones, and so on."""
    for number in range(max(map(len, snapshots.values()))):
        yield from ((volume, names[number]) for volume, names in snapshots.items() if number < len(names))


def _manage(process: CinderProcess, backend: Backend, volume: str, name: str) -> None:
    """Make the two calls of cinder-volume for a snapshot: its size, with the driver's checks, and the rename."""
    assert backend.vendor
    old, new = (vendor_of(backend.vendor.driver).name_argument(volume, each) for each in (name, backend.renamed(name)))
    reference = {"source-name": old, "name": old}
    size = process.call("snapshot_size_gb", volume=volume, reference=reference)
    order = {"record_id": str(uuid.uuid4()), "name": new, "volume": volume, "size_gb": size, "reference": reference}
    process.call("manage", **order)
