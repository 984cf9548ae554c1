"""Measure one backend: the raw loop, the service with and without renames, Cinder's own driver, the raw loop again.

All takes place in one run: compare the ratios, not the milliseconds.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from benchmarks.storage import reference, service
from benchmarks.storage.backends import MAKERS, Backend
from benchmarks.storage.raw import RawLoop
from benchmarks.world import World

SNAPSHOTS = int(os.environ.get("STORAGE_SNAPSHOTS", "1000"))
LARGE = int(os.environ.get("STORAGE_LARGE", "5000"))
# Each raw loop, and the loop of Cinder's driver, ends after so long, however many snapshots are left.
LOOP_SECONDS = float(os.environ.get("STORAGE_LOOP_SECONDS", "20"))
RENAMED, KEPT = "snapshot-%s", ""


def run(world: World, name: str, large: bool = False) -> dict[str, Any]:
    """Return the figures of a backend, or the programs that this machine lacks; a large one takes no renames."""
    count = LARGE if large else SNAPSHOTS
    settings = f"STORAGE_SNAPSHOTS={SNAPSHOTS} STORAGE_LARGE={LARGE} STORAGE_LOOP_SECONDS={LOOP_SECONDS:g}"
    figures = {"backend": name, "snapshots": count, "settings": settings}
    try:
        with TemporaryDirectory(prefix="storage-") as folder, MAKERS[name](Path(folder), count) as backend:
            return figures | _measure(world, backend, not large)
    except (pytest.skip.Exception, pytest.fail.Exception) as lacking:
        return figures | {"missing": str(lacking)}


def _measure(world: World, backend: Backend, renames: bool) -> dict[str, Any]:
    raw = RawLoop(backend, LOOP_SECONDS)
    raw.run()
    figures: dict[str, Any] = {}
    if renames:
        figures["rename"] = service.run(world, backend, RENAMED)
    figures["keep"] = service.run(world, backend, KEPT)
    raw.run()
    figures["raw"] = raw.figures
    if backend.vendor:
        figures["cinder"] = reference.run(backend, backend.vendor, LOOP_SECONDS)
    for phase in (phase for kind in ("rename", "keep") for phase in figures.get(kind, {}).values()):
        phase |= {"ratio": _ratio(phase["ms"], raw), "driver_ratio": _ratio(phase["driver_ms"], raw)}
    return figures


def _ratio(milliseconds: float, raw: RawLoop) -> float:
    return round(milliseconds / raw.figures["ms"], 3)
