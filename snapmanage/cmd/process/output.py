"""Print the output of commands, with text from outside escaped. No other module prints.

Results go to standard output, errors and warnings to standard error. A character that the terminal's encoding lacks is
escaped too.
"""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from snapmanage.core.values.text import printable

_GAP = "  "


def line(text: str = "") -> None:
    """Print one line of text, at once."""
    _print(text, sys.stdout)


def lines(texts: Iterable[str]) -> None:
    """Print many lines of text, until the reader of a pipe closes it."""
    try:
        for text in texts:
            _print(text, sys.stdout, flush=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes the rest at its exit, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(rows: Iterable[Sequence[object]]) -> None:
    """Print rows of equal length, one a line, with aligned columns."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines(_GAP.join(map(str.ljust, row, widths)).rstrip() for row in cells)


def json_document(value: Any) -> None:
    """Print one value as JSON on several lines for a person."""
    lines(json.dumps(value, indent=2).split("\n"))


def error(text: str) -> None:
    note(f"error: {text}")


def warning(text: str) -> None:
    note(f"warning: {text}")


def note(text: str) -> None:
    """Print one line of text to standard error."""
    _print(text, sys.stderr)


def _print(text: str, stream: TextIO, flush: bool = True) -> None:
    encoding = stream.encoding or "utf-8"
    # One write for each line: with PYTHONUNBUFFERED, `print` writes the end of a line apart, and the lines of several
    # processes would mix.
    stream.write(printable(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")
    if flush:
        stream.flush()
