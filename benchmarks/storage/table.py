"""The results of the storage benchmark as a table in Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks import machine

HEAD = (
    *("backend", "snapshots", "work", "ms each", "raw loop, ms", "ratio", "in the driver: ms", "ratio"),
    *("entries a call", "processes each", "reports each"),
)
WORK = {
    ("rename", "manage"): "manage, with rename",
    ("rename", "unmanage"): "unmanage, with rename",
    ("keep", "manage"): "manage, no rename",
    ("keep", "unmanage"): "unmanage, no rename",
}
Figures = Mapping[str, Any]


def render(lines: Iterable[Figures]) -> str:
    """Return the table of the lines of results that are of this benchmark; empty if there are none."""
    results = [line for line in lines if line["benchmark"].startswith("storage.")]
    if not results:
        return ""
    names = " ".join(line["benchmark"] for line in results)
    repeat = f'Repeat it: make bench BENCH="{names}" {results[0]["figures"]["settings"]}'
    rows = [HEAD, ["---"] * len(HEAD), *(row for line in results for row in _rows(line["figures"]))]
    return "\n".join(["", *(f"| {' | '.join(row)} |" for row in rows), "", machine.conditions(results), repeat, ""])


def _rows(figures: Figures) -> Iterator[Sequence[str]]:
    name = figures["backend"]
    if "missing" in figures:
        yield [name, "", f"not measured: {figures['missing']}", *[""] * (len(HEAD) - 3)]
        return
    first = [name, str(figures["snapshots"])]
    for (kind, operation), work in WORK.items():
        if kind in figures:
            yield [*first, work, *_cells(figures[kind][operation], figures["raw"]["ms"], kind == "rename")]
    if "cinder" in figures:
        yield [*first, *_cinder(figures["cinder"], figures["raw"]["ms"])]


def _cells(phase: Figures, raw_ms: float, renames: bool) -> Sequence[str]:
    """Return the cells behind the work; only work that renames is comparable with the raw loop."""
    raw = [_number(raw_ms), _number(phase["ratio"])] if renames else ["", ""]
    driver = [_number(phase["driver_ms"]), _number(phase["driver_ratio"]) if renames else ""]
    batch = " + ".join(f"{size:g}" for size in phase["batch"].values())
    return [_number(phase["ms"]), *raw, *driver, batch, _counts(phase["processes"]), _counts(phase["reports"])]


def _cinder(figures: Figures, raw_ms: float) -> Sequence[str]:
    if "missing" in figures:
        return [f"Cinder's own driver: not measured: {figures['missing']}", *[""] * (len(HEAD) - 3)]
    ratio = _number(figures["ms"] / raw_ms)
    work = [f"Cinder's own driver, {figures['operations']} managed", _number(figures["ms"]), _number(raw_ms), ratio]
    # The images that Cinder's driver opens aren't counted, so none may be a false number.
    reports = _counts(figures["reports"]) if figures["reports"] else ""
    return [*work, "", "", "1", _counts(figures["processes"]), reports]


def _counts(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{_number(count)} {name}" for name, count in counts.items()) or "0"


def _number(value: float) -> str:
    """Return the value with two digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
