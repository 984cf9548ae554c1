"""Listings of manageable snapshots: of a large backend page by page, and of a large LVM group."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks import machine, seed
from benchmarks.clients import Client, measure
from benchmarks.world import Installation, World
from snapmanage.testing import needs
from snapmanage.testing.services.lvm_metadata import metadata_group
from snapmanage.testing.services.process import unique

ENTRIES = 100_000
MANAGED = 5_000
PAGES = 20
LVM_VOLUMES = 5_000


def measure_large_backend(world: World) -> dict[str, Any]:
    """Measure successive pages of 1,000 entries; the first page scans the backend."""
    with world.installation(f"driver = fake\nfake_snapshots = {ENTRIES}") as app:
        [(server, volume_id)] = app.seed_volumes().items()
        with app.db.engine.begin() as conn:
            seed.add_managed(conn, server, volume_id, range(1, MANAGED + 1))
        pid, client = _serve(app)
        times = _walk(client, _path(server), PAGES)
        return {
            "entries": ENTRIES,
            "managed": MANAGED,
            "first_page_ms": round(1000 * times[0], 1),
            "further_pages": machine.latencies(times[1:]),
            "peak_mb": machine.memory_mb(pid, "VmHWM"),
        }


def measure_lvm(world: World) -> dict[str, Any]:
    """Measure the first page of a thin pool with many snapshots."""
    if os.geteuid() != 0 or needs.program("lvs") is None:
        return {"skipped": "needs root and lvm2"}
    with tempfile.TemporaryDirectory() as folder, metadata_group(Path(folder), unique("vg")) as group:
        group.add_pool()
        group.add_thin_volumes("disk")
        group.add_thin_snapshots("disk", *(f"disk-{number}" for number in range(1, LVM_VOLUMES)))
        backend = f"driver = lvm\nvolume_group = {group.name}\nlvm_system_dir = {group.system_dir}"
        with world.installation(backend) as app:
            _, client = _serve(app)
            seconds, _ = measure(lambda: client.get(_path(app.servers[0])))
            return {"volumes": LVM_VOLUMES, "first_page_ms": round(1000 * seconds, 1)}


def _serve(app: Installation) -> tuple[int, Client]:
    """Start a server and an API, and let both make their connections."""
    pid, _ = app.start("volume")
    client = Client(app.start("api")[1].partition("http://")[2].partition("/")[0])
    client.get("/snapshots?limit=1")
    return pid, client


def _path(server: str) -> str:
    return f"/os-snapshot-manage?host={quote(server)}&limit=1000"


def _walk(client: Client, path: str, pages: int) -> list[float]:
    """Return the seconds until each page has arrived; the client parses it afterwards, to find the next marker."""
    times, marker = [], ""
    for _ in range(pages):
        request = client.request("GET", path + marker)
        seconds, (status, body) = measure(lambda: client.send(request))  # noqa: B023 - called at once
        assert status == 200, body
        page = json.loads(body)
        times.append(seconds)
        marker = f"&marker={quote(json.dumps(page['manageable-snapshots'][-1]['reference']))}"
    return times
