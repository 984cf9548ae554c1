"""POST `os-snapshot-manage`: one at a time until the snapshot is `available`, from many clients, and in batches."""

import json
import time
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import machine, seed
from benchmarks.clients import Client, manage, manage_many, measure, post_together
from benchmarks.world import Installation, Meter, World
from snapmanage.testing.waiting import until

ALONE = 300
WARM = 20
TOGETHER = 3000
ENTRIES = 1000
BATCHES = 10
SINGLE = 300


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


def measure_many_clients(
    world: World, clients: int, served: bool, workers: int = 1, history: int = 0
) -> dict[str, Any]:
    """Measure the answers of `workers` API processes, with a server that handles the casts or only its heartbeat."""
    with world.installation(f"driver = fake\nfake_snapshots = {TOGETHER}", extra=f"workers = {workers}") as app:
        app.prepare_events()
        [(server, volume_id)] = app.seed_volumes().items()
        if history:
            app.age(history)
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


def measure_batches(world: World, in_sqlite: bool = False) -> dict[str, Any]:
    """Measure batches of one client, and single requests of one client before and after them; no server runs."""
    with TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/snapmanage.db" if in_sqlite else None
        with world.installation(database_url=url) as app:
            app.prepare_events()
            [(server, volume_id)] = app.seed_volumes().items()
            with app.db.engine.begin() as conn:
                seed.add_heartbeat(conn, server)
            pid, line = app.start("api")
            post_together(_address(line), 2, 10, _other(app, server))
            before = post_together(_address(line), 1, SINGLE, volume_id, "before-")
            seconds, latencies = _post_batches(_address(line), volume_id)
            after = post_together(_address(line), 1, SINGLE, volume_id, "after-")
            rates = {
                "per_second": ENTRIES * BATCHES / seconds,
                "single_per_second": 2 * SINGLE / (before[0] + after[0]),
            }
            return {
                "entries": ENTRIES,
                "batches": BATCHES,
                **{name: round(rate, 1) for name, rate in rates.items()},
                "times_the_single_rate": round(rates["per_second"] / rates["single_per_second"], 1),
                **machine.latencies(latencies),
                "single": machine.latencies(before[1] + after[1]),
                "peak_mb": machine.memory_mb(pid, "VmHWM"),
            }


def _post_batches(address: str, volume_id: str) -> tuple[float, list[float]]:
    """Send the batches one after the other; return the seconds of all, and of each."""
    client = Client(address)
    requests = [manage_many(client, volume_id, f"batch-{number}", ENTRIES) for number in range(BATCHES)]

    def send(request: bytes) -> None:
        status, body = client.send(request)
        refused = [each for each in json.loads(body)["snapshots"] if each["status"] != 202]
        assert (status, refused) == (207, [])

    latencies = [measure(partial(send, request))[0] for request in requests]
    client.close()
    return sum(latencies), latencies


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
