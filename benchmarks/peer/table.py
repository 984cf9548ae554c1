"""The results of `make bench-peer` as a table in Markdown."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks import machine

PROCESSOR = ("processor ms each, by process", "together", "Cinder's, times this")
HEAD = ("server", "a second, each round", "median", "times Cinder", "ratio to the empty server", *PROCESSOR)
NAMES = {
    "cinder": "Cinder {version}, cinder-volume",
    "one server": "snapmanage, one server process",
    "two servers": "snapmanage, two server processes",
    "empty server": "oslo.messaging, a server with an empty endpoint",
}
Line = Mapping[str, Any]


def render(lines: Iterable[Line]) -> str:
    """Return the table; the ratios are those of the medians."""
    known = list(lines)
    by_name = {name: [line for line in known if line["benchmark"] == name] for name in NAMES}
    medians = {name: statistics.median(map(_rate, found)) for name, found in by_name.items()}
    rows = [HEAD, ["---"] * len(HEAD), *(_row(name, by_name, medians) for name in NAMES)]
    return "\n".join(
        [
            "",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            machine.conditions(known),
            "Repeat it: make bench-peer",
            "",
        ]
    )


def _row(name: str, by_name: Mapping[str, list[Line]], medians: Mapping[str, float]) -> list[str]:
    found = by_name[name]
    rates = ", ".join(f"{_rate(line):,.1f}" for line in found)
    times, ratio = medians[name] / medians["cinder"], medians[name] / medians["empty server"]
    left = sum(line["figures"].get("left_creating", 0) for line in found)
    server = NAMES[name].format(version=found[0]["cinder"]) + (f" ({left} left in `creating`)" if left else "")
    processor = _processor_cells(found, by_name["cinder"])
    return [server, rates, f"{medians[name]:,.1f}", f"{times:,.1f}", f"{ratio:.3f}", *processor]


def _processor_cells(found: list[Line], cinder: list[Line]) -> list[str]:
    """Return the medians of the processor time by process, their sum, and how many times as much Cinder takes."""
    used = _processor(found)
    together = sum(used.values())
    parts = " + ".join(f"{ms:.2f} {process}" for process, ms in used.items())
    return [parts, f"{together:.2f}", f"{sum(_processor(cinder).values()) / together:,.1f}"]


def _processor(found: list[Line]) -> dict[str, float]:
    used = [each if isinstance(each := line["figures"]["cpu_ms"], Mapping) else {"server": each} for line in found]
    return {process: statistics.median(each[process] for each in used) for process in used[0]}


def _rate(line: Line) -> float:
    return float(line["figures"]["per_second"])
