"""The cost of one operation in a small and in a large deployment, side by side in one run.

Each benchmark returns `small`, `large` and `ratios`. The figure of a case is processor time, of which all processes
share two cores: a rate shows how many processors the machine has.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.growth import backends, entries, records, servers
from benchmarks.growth.table import render
from benchmarks.world import World

__all__ = ["BENCHMARKS", "render"]

BENCHMARKS: Mapping[str, Callable[[World], dict[str, Any]]] = {
    "growth.records.engine": records.measure_engine,
    "growth.records.post": records.measure_post,
    "growth.records.daily": records.measure_daily_work,
    "growth.entries.fake": entries.measure_fake,
    "growth.entries.file": entries.measure_file,
    "growth.backends.total": partial(backends.measure, small=2000, each=20),
    "growth.backends.each": partial(backends.measure, small=200, each=200),
    "growth.backends.idle": backends.measure_idle,
    "growth.servers.together": partial(servers.measure, apart=False),
    "growth.servers.apart": partial(servers.measure, apart=True),
}
