"""POST `os-snapshot-manage`: one request at a time until the snapshot is `available`, and from many clients."""

import json
import time
from typing import Any

from benchmarks import machine, seed
from benchmarks.clients import Client, manage, measure, post_together
from benchmarks.world import Installation, Meter, World
from snapmanage.testing.waiting import until

ALONE = 300
WARM = 20
TOGETHER = 3000


def measure_one_client(world: World) -> dict[str, Any]:
    """Measure the time from a request until the database shows the snapshot as `available`."""
    with world.installation(f"driver = fake\nfake_snapshots = {ALONE + WARM}") as app:
        app.prepare_events()
        volume_id = next(iter(app.seed_volumes().values()))
        app.start("volume")
        client = Client(_address(app.start("api")[1]))
        look: Any = app.db.engine.raw_connection()
        look.autocommit(True)
        answers, available = [], []
        for number in range(1, ALONE + WARM + 1):
            request = manage(client, volume_id, seed.source_name(number))
            started = time.perf_counter()
            seconds, (status, body) = measure(lambda: client.send(request))  # noqa: B023 - called at once
            assert status == 202, body
            _wait(look.cursor(), json.loads(body)["snapshot"]["id"])
            available.append(time.perf_counter() - started)
            answers.append(seconds)
            time.sleep(0.005)  # let the work of this request end before the next one
        look.close()
        return {
            "operations": ALONE,
            **machine.latencies(available[WARM:]),
            "answer": machine.latencies(answers[WARM:]),
        }


def measure_many_clients(world: World, clients: int, served: bool, workers: int = 1) -> dict[str, Any]:
    """Measure the answers of `workers` API processes, with a server that handles the casts or only its heartbeat."""
    with world.installation(f"driver = fake\nfake_snapshots = {TOGETHER}", extra=f"workers = {workers}") as app:
        app.prepare_events()
        [(server, volume_id)] = app.seed_volumes().items()
        pids = {}
        if served:
            pids["volume"] = [app.start("volume")[0]]
        else:
            with app.db.engine.begin() as conn:
                seed.add_heartbeat(conn, server)
        pid, line = app.start("api")
        pids["api"] = [pid]
        post_together(_address(line), 2, 10, _other(app, server))
        meter = Meter(world, pids)
        seconds, latencies = post_together(_address(line), clients, TOGETHER // clients, volume_id)
        figures = meter.read(len(latencies), seconds) | machine.latencies(latencies)
        if served:
            until(lambda: app.count(_LEFT) == 0, "all snapshots to be available", seconds=120)
        return figures | {"clients": clients, "peak_mb": machine.memory_mb(pid, "VmHWM")}


_LEFT = "SELECT COUNT(*) FROM snapshots WHERE status = 'creating' AND server = 'storage-1@pool1'"


def _other(app: Installation, server: str) -> str:
    """Register a volume of a server that doesn't run, for the requests that warm up the API."""
    with app.db.engine.begin() as conn:
        seed.add_heartbeat(conn, f"{server}-away")
        return seed.add_volume(conn, f"{server}-away")


def _address(ready: str) -> str:
    return ready.partition("http://")[2].partition("/")[0]


def _wait(cursor: Any, snapshot_id: str) -> None:
    while True:
        cursor.execute("SELECT status FROM snapshots WHERE id = %s", (snapshot_id,))
        if cursor.fetchone()[0] == "available":
            return
        time.sleep(0.0005)
