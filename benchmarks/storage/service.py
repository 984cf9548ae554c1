"""The snapshots of a backend, managed and unmanaged by one server process behind its API.

The API accepts all requests while the server is stopped, so the figures are those of a server with a full queue.
"""

import json
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.clients import Client
from benchmarks.storage import counting
from benchmarks.storage.backends import Backend
from benchmarks.world import Installation, Meter, World
from snapmanage.testing.services.process import send
from snapmanage.testing.waiting import until

ENTRIES = 500
CLIENTS = 4
# Without an event for so long, the run fails: LVM takes minutes for a batch of renames in a large group.
STUCK_SECONDS = 900
PAUSE_SECONDS = 0.02


def run(world: World, backend: Backend, template: str) -> dict[str, Any]:
    """Return the figures of managing and of unmanaging every snapshot, with this `snapshot_name_template`."""
    options = f"[operations]\nsnapshot_name_template = {template}"
    with TemporaryDirectory() as folder, world.installation(backend.section, extra=options) as app:
        app.prepare_events()
        counts = Path(folder) / "counts"
        phases = Phases(world, app, backend, counts)
        manage = phases.measure(phases.request_manage)
        unmanage = phases.measure(phases.request_unmanage)
        check(app, len(backend.names))
        return {"manage": manage, "unmanage": unmanage}


class Phases:
    """One server and one API; each phase is a queue of requests, and the work on it."""

    def __init__(self, world: World, app: Installation, backend: Backend, counts: Path) -> None:
        self._world, self._app, self._backend, self._counts = world, app, backend, counts
        command = [sys.executable, "-m", "benchmarks.storage.server", str(counts), backend.path]
        self._server = app.start("volume", 1, command)[0]
        self._address = app.start("api")[1].partition("http://")[2].partition("/")[0]
        self._volumes = self._register()
        self._ids: list[str] = []

    def request_manage(self) -> None:
        client = Client(self._address)
        for volume, names in self._backend.snapshots.items():
            for start in range(0, len(names), ENTRIES):
                self._ids += _manage(client, self._volumes[volume], names[start:][:ENTRIES])
        client.close()

    def request_unmanage(self) -> None:
        threads = [threading.Thread(target=self._unmanage, args=[self._ids[own::CLIENTS]]) for own in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def measure(self, request: Callable[[], None]) -> dict[str, Any]:
        """Queue requests while the server is stopped, and measure it from its continuation to the last event."""
        operations, events = len(self._backend.names), self._app.events()
        send(signal.SIGSTOP, [self._server])
        request()
        before, meter = counting.read(self._counts), Meter(self._world, {"volume": [self._server]})
        send(signal.SIGCONT, [self._server])
        self._await_events(events + 2 * operations)
        figures = meter.read(operations)
        counts = counting.read(self._counts)
        counts.subtract(before)
        return {"ms": round(1000 / figures["per_second"], 3), **figures, **counting.per_operation(counts, operations)}

    def _register(self) -> dict[str, str]:
        """Register the volumes, and return their ids by name."""
        client = Client(self._address)
        ids = {}
        for name in self._backend.snapshots:
            body = {"volume": {"host": self._app.servers[0], "ref": {"source-name": name}}}
            status, answer = client.send(client.request("POST", "/os-volume-manage", body))
            assert status == 202, answer
            ids[name] = json.loads(answer)["volume"]["id"]
        count = "SELECT COUNT(*) FROM volumes WHERE status = 'available'"
        until(lambda: self._app.count(count) == len(ids), "the volumes to be registered", 120)
        # The events of the volumes are on the wire before the first phase counts its own.
        until(lambda: self._app.count("SELECT COUNT(*) FROM outbox") == 0, "the events of the volumes", 60)
        client.close()
        return ids

    def _unmanage(self, ids: Sequence[str]) -> None:
        client = Client(self._address)
        for each in ids:
            status, answer = client.send(client.request("POST", f"/snapshots/{each}/action", {"os-unmanage": {}}))
            assert status == 202, answer
        client.close()

    def _await_events(self, expected: int) -> None:
        seen, since = 0, time.monotonic()
        while (found := self._app.events()) < expected:
            if found > seen:
                seen, since = found, time.monotonic()
            stuck = time.monotonic() - since > STUCK_SECONDS
            assert not stuck, f"{found} events of {expected}, and none for {STUCK_SECONDS} s"
            assert self._app.alive("volume"), "the server has ended"
            time.sleep(PAUSE_SECONDS)


def check(app: Installation, snapshots: int) -> None:
    """Fail unless each snapshot was managed once and unmanaged once."""
    found = app.event_types()
    kinds = [f"snapshot.{operation}.{step}" for operation in ("manage", "unmanage") for step in ("start", "end")]
    assert {kind: found.get(kind) for kind in kinds} == dict.fromkeys(kinds, snapshots), found
    assert not [kind for kind in found if kind.endswith("error")], found


def _manage(client: Client, volume_id: str, names: Sequence[str]) -> list[str]:
    """Request to manage snapshots in one batch, and return their ids."""
    ids = [str(uuid.uuid4()) for _ in names]
    entries = [
        {"volume_id": volume_id, "ref": {"source-name": name}, "id": each}
        for name, each in zip(names, ids, strict=True)
    ]
    status, answer = client.send(client.request("POST", "/os-snapshot-manage/batch", {"snapshots": entries}))
    refused = [each for each in json.loads(answer)["snapshots"] if each["status"] != 202] if status == 207 else answer
    assert not refused, refused
    return ids
