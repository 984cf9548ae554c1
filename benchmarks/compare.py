"""Show two files of results side by side: `make bench-compare A=before.jsonl B=after.jsonl`."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def main(before: str, after: str) -> None:
    old, new = _figures(Path(before)), _figures(Path(after))
    width = max((len(name) for name in old | new), default=0)
    print(f"{'':{width}}  {'A':>10}  {'B':>10}  B/A")
    for name in old | new:
        print(_row(name, width, old.get(name), new.get(name)))


def _figures(path: Path) -> dict[str, float]:
    """Return all numbers of a file by their full names, such as `consume.cpu_ms.volume`."""
    lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    return {name: value for line in lines for name, value in _flat(line["benchmark"], line["figures"])}


def _flat(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, list):
        for key, inner in enumerate(value, 1):
            yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, int | float):
        yield name, float(value)


def _row(name: str, width: int, old: float | None, new: float | None) -> str:
    shown = ["-" if value is None else f"{value:g}" for value in (old, new)]
    ratio = f"{new / old:.2f}" if old and new is not None else ""
    return f"{name:{width}}  {shown[0]:>10}  {shown[1]:>10}  {ratio}".rstrip()


if __name__ == "__main__":
    main(*sys.argv[1:3])
