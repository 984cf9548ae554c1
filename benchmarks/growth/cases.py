"""Pairs of a small and a large case, and their ratios."""

from collections.abc import Mapping
from typing import Any

Figures = Mapping[str, Any]
# The ratio that a large case should reach, or documentation says why it doesn't.
GOAL = 1.3


def compare(before: Figures, large: Figures, after: Figures, **sizes: Any) -> dict[str, Any]:
    """Return the processor times of an operation; the small case ran before the large one and after it."""
    small = {name: round((ms + after["cpu_ms"][name]) / 2, 3) for name, ms in before["cpu_ms"].items()}
    small, of_large = _with_sum(small), _with_sum(large["cpu_ms"])
    shown = {"small": small | _rest(before), "large": of_large | _rest(large)}
    return {**sizes, **shown, "ratios": ratios(small, of_large)}


def _with_sum(figures: Figures) -> dict[str, float]:
    return {**figures, "all": round(sum(figures.values()), 3)}


def ratios(small: Figures, large: Figures) -> dict[str, float]:
    return {name: round(large[name] / max(small[name], 0.001), 2) for name in small}


def _rest(figures: Figures) -> dict[str, Any]:
    return {
        name: figures[name] for name in ("per_second", "statements", "commits", "peak_mb", "events") if name in figures
    }
