"""Plan, apply and undo with the client: the seconds of each command, and of its processors."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import machine, seed
from benchmarks.world import Installation, Meter, World

VOLUMES = 10
SNAPSHOTS = 10_000
FOLDER = Path(sys.executable).parent


def run(world: World, snapshots: int = SNAPSHOTS) -> dict[str, Any]:
    """Adopt `snapshots` snapshots of a fake backend, from the start of `apply` to its end, and undo it."""
    with world.installation(f"driver = fake\nfake_volumes = {VOLUMES}\nfake_snapshots = {snapshots // VOLUMES}") as app:
        app.prepare_events()
        pids = {"volume": [app.start("volume")[0]]}
        pid, line = app.start("api")
        pids["api"] = [pid]
        address = line.partition("http://")[2].partition("/")[0]
        with TemporaryDirectory() as folder:
            commands = Commands(address, Path(folder) / "plan.jsonl")
            figures: dict[str, Any] = {"snapshots": snapshots}
            figures["plan"] = commands.run("plan", "--host", app.servers[0], "--out")
            meter = Meter(world, pids)
            figures["apply"] = commands.run("apply", "--yes")
            figures["apply"] |= meter.read(snapshots, figures["apply"]["seconds"])
            figures["undo"] = commands.run("undo", "--yes")
        check(app, snapshots)
        return figures | {"peak_mb": machine.memory_mb(pid, "VmHWM")}


class Commands:
    """The commands of the client as processes, with one plan file."""

    def __init__(self, address: str, plan: Path) -> None:
        self._plan = plan
        self._environment = os.environ | {"OS_AUTH_TYPE": "none", "OS_ENDPOINT": f"http://{address}/v3/{seed.PROJECT}"}

    def run(self, command: str, *arguments: str) -> dict[str, float]:
        """Run a command with the plan as its last argument; return its seconds, and those of its processors."""
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        argv = [str(FOLDER / "snapmanage"), command, *arguments, str(self._plan)]
        ended = subprocess.run(argv, env=self._environment, capture_output=True, text=True)
        seconds = time.perf_counter() - started
        assert ended.returncode == 0, ended.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"seconds": round(seconds, 1), "client_cpu_seconds": round(cpu, 1)}


def check(app: Installation, snapshots: int) -> None:
    """Check that each snapshot was managed once and unmanaged once."""
    kinds = [f"snapshot.{operation}.{step}" for operation in ("manage", "unmanage") for step in ("start", "end")]
    found = app.event_types()
    assert {kind: found.get(kind) for kind in kinds} == dict.fromkeys(kinds, snapshots), found
    assert not [kind for kind in found if kind.endswith("error")], found
