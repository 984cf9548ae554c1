"""The results of `make bench-peer` as a table in Markdown."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks import machine

HEAD = ("server", "a second, each round", "median", "times Cinder", "ratio to the empty server", "processor ms each")
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
    rows = [HEAD, ["---"] * len(HEAD), *(_row(name, by_name[name], medians) for name in NAMES)]
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


def _row(name: str, found: list[Line], medians: Mapping[str, float]) -> list[str]:
    rates = ", ".join(f"{_rate(line):,.1f}" for line in found)
    times, ratio = medians[name] / medians["cinder"], medians[name] / medians["empty server"]
    server = NAMES[name].format(version=found[0]["cinder"])
    return [server, rates, f"{medians[name]:,.1f}", f"{times:,.1f}", f"{ratio:.3f}", _processor(found[-1]["figures"])]


def _rate(line: Line) -> float:
    return float(line["figures"]["per_second"])


def _processor(figures: Mapping[str, Any]) -> str:
    used = figures["cpu_ms"]
    return " + ".join(f"{ms:.2f} {name}" for name, ms in used.items()) if isinstance(used, Mapping) else f"{used:.2f}"
