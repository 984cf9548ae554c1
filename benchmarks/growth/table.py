"""The results of the growth benchmarks as a table in Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks import machine
from benchmarks.growth.cases import GOAL

HEAD = ("benchmark", "figure", "small", "large", "ratio", f"at most {GOAL}")


def render(lines: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of the lines of results that are of these benchmarks; empty if there are none."""
    results = [line for line in lines if line["benchmark"].startswith("growth.")]
    if not results:
        return ""
    rows = [HEAD, ["---"] * len(HEAD), *(row for line in results for row in _rows(line["benchmark"], line["figures"]))]
    return "\n".join(["", *(f"| {' | '.join(row)} |" for row in rows), "", machine.conditions(results), ""])


def _rows(name: str, figures: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for figure, ratio in figures.get("ratios", {}).items():
        small, large = figures["small"][figure], figures["large"][figure]
        yield name, f"{figure}, ms", f"{small:g}", f"{large:g}", f"{ratio:g}", "yes" if ratio <= GOAL else "no"
