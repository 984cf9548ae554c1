"""The option -f/--format of commands that print a list or a report, and the two formats.

`table` is text for a person. `json` is one JSON value on standard output, an array unless the command shows one object;
its text is escaped, so that a program reads it unchanged. Notes and warnings go to standard error in both.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from itertools import chain
from typing import Any

from oslo_config import cfg

from snapmanage.cmd.process import output

Row = Mapping[str, Any]
TABLE, JSON = "table", "json"
_ABSENT = "-"


def add_option(parser: Any) -> None:
    """Add -f/--format to the parser of a command."""
    parser.add_argument(
        "-f",
        "--format",
        choices=(JSON, TABLE),
        default=TABLE,
        help="table: text for a person; json: one JSON value for a program (default: %(default)s)",
    )


def rows(conf: cfg.ConfigOpts, found: Iterable[Row], cells: Callable[[Row], Sequence[object]] | None = None) -> None:
    """Print a list; every row has the same keys.

    A table has the keys as headings, or without headings the `cells` of each row.
    """
    if conf.command.format == JSON:
        output.lines(_array(found))
    elif cells is None:
        output.table(_with_headings(found))
    else:
        output.table(map(cells, found))


def lines(conf: cfg.ConfigOpts, found: Iterable[Row], text: Callable[[Row], str]) -> None:
    """Like `rows`, with a line of `text` for each row and columns that are not aligned: the memory is bounded."""
    output.lines(_array(found) if conf.command.format == JSON else map(text, found))


def document(conf: cfg.ConfigOpts, value: Row, text: Iterable[str]) -> None:
    """Print one object as JSON, or the lines of `text` that describe it."""
    if conf.command.format == JSON:
        output.json_document(_plain(value))
    else:
        output.lines(text)


class Report:
    """A list of findings or of changes, each printed at once, since the next one may take long or fail."""

    def __init__(self, in_json: bool) -> None:
        self._in_json = in_json
        self._is_empty = True

    def add(self, *text: str, **fields: Any) -> None:
        """Print an entry: the lines of `text` in a table, its fields as JSON."""
        output.lines([f"{'[' if self._is_empty else ','}{_dumped(fields)}"] if self._in_json else text)
        self._is_empty = False

    def end(self) -> None:
        """Print the end of the JSON array."""
        if self._in_json:
            output.lines(["[]" if self._is_empty else "]"])


@contextmanager
def report(conf: cfg.ConfigOpts) -> Iterator[Report]:
    """Open a report; its JSON is complete even if the command fails half-way."""
    opened = Report(conf.command.format == JSON)
    try:
        yield opened
    finally:
        opened.end()


def _array(found: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of a JSON array with one row a line."""
    beginning = "["
    for row in found:
        yield beginning + _dumped(row)
        beginning = ","
    yield "[]" if beginning == "[" else "]"


def _with_headings(found: Iterable[Row]) -> Iterator[Sequence[object]]:
    entries = iter(found)
    first = next(entries, None)
    if first is not None:
        yield [key.replace("_", " ").upper() for key in first]
        for row in chain([first], entries):
            yield [_cell(value) for value in row.values()]


def _cell(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return _ABSENT if value is None else value.value if isinstance(value, Enum) else value


def _dumped(row: Row) -> str:
    return json.dumps(_plain(row))


def _plain(value: Any) -> Any:
    """Return a value with only the types of JSON: times and members of enums become texts."""
    match value:
        case Mapping():
            return {str(_plain(key)): _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case datetime():
            return value.isoformat()
        case Enum():
            return value.value
    return value
