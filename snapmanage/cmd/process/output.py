"""Print the output of commands, with text from outside escaped. No other module prints.

Results go to standard output, errors and warnings to standard error. A character that the terminal's encoding lacks is
escaped too.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from snapmanage.core.values.text import printable

_GAP = "  "


def line(text: str = "") -> None:
    """Print one line of text, at once."""
    _print(text, sys.stdout)


def table(rows: Iterable[Sequence[object]]) -> None:
    """Print rows of equal length, one a line, with aligned columns."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line(_GAP.join(map(str.ljust, row, widths)).rstrip())


def json_line(value: Any) -> None:
    """Print a value as JSON on one line; JSON escapes text from outside, so that a program reads it unchanged."""
    line(json.dumps(value))


def json_document(value: Any) -> None:
    """Like `json_line`, on several lines for a person."""
    for each in json.dumps(value, indent=2).split("\n"):
        line(each)


def error(text: str) -> None:
    _print(f"error: {text}", sys.stderr)


def warning(text: str) -> None:
    _print(f"warning: {text}", sys.stderr)


def _print(text: str, stream: TextIO) -> None:
    encoding = stream.encoding or "utf-8"
    print(printable(text).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
