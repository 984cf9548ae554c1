"""One server process, and sixteen: of one backend together, or of a backend each.

The processes share the cores of the machine, so the sum of their processor time counts, and not the rate.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks import consume
from benchmarks.growth import cases
from benchmarks.world import Installation, World

SERVERS = 16
# Operations of one process: with few of them, the first use of each statement would count.
OPERATIONS = 1000


def measure(world: World, apart: bool) -> dict[str, Any]:
    """Compare one process with many, which serve one backend, or with `apart` each a backend of its own."""
    before = consume.run(world, OPERATIONS)
    if apart:
        large = consume.run(world, SERVERS * OPERATIONS, servers=SERVERS, backends=SERVERS, start=_start_of_own)
    else:
        large = consume.run(world, SERVERS * OPERATIONS, servers=SERVERS)
    after = consume.run(world, OPERATIONS)
    return cases.compare(before, large, after, servers=[1, SERVERS])


def _start_of_own(app: Installation, number: int) -> int:
    """Start a server of one backend: oslo.config prefers the environment to the file."""
    own = f"OS_DEFAULT__ENABLED_BACKENDS=pool{number}"
    return app.start("volume", number, ["env", own, str(Path(sys.executable).parent / "snapmanage-volume")])[0]
