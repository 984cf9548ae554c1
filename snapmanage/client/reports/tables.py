"""Tables for people: without empty columns, as wide as the terminal allows."""

import argparse
import shutil
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, TextIO

import prettytable
from cliff.formatters.base import ListFormatter

# A cell may be broken after this many characters, even inside a word.
LONGEST_WORD = 24
# No column is narrower on a narrow terminal.
NARROWEST = 4
# Between two columns, and at the left edge.
_BORDER, _EDGE = 3, 1


class Table(ListFormatter):
    """Prints rows as a table, without the columns of `hidden` and empty ones, unless they are chosen.

    On a narrow terminal, the columns of `secondary` are left out in their order. In place of a table without rows, it
    writes the sentence `nothing` to `notes`.
    """

    def __init__(self, hidden: frozenset[str], secondary: Sequence[str], nothing: str, notes: TextIO) -> None:
        self._hidden = hidden
        self._secondary = secondary
        self._nothing = nothing
        self._notes = notes

    def add_argument_group(self, parser: argparse.ArgumentParser) -> None:
        """Add nothing: the options are those of cliff's tables."""

    def emit_list(
        self,
        column_names: Sequence[str],
        data: Iterable[Sequence[Any]],
        stdout: TextIO,
        parsed_args: argparse.Namespace,
    ) -> None:
        columns, rows = list(column_names), list(data)
        if not rows and not parsed_args.print_empty:
            self._notes.write(f"{self._nothing}\n")
            return
        width = _width(parsed_args, stdout)
        if rows and not parsed_args.columns:
            columns, rows = _restricted(columns, rows, telling(columns, rows, self._hidden))
            for name in self._secondary:
                if width is not None and name in columns and not fits(columns, rows, width):
                    columns, rows = _restricted(columns, rows, [each != name for each in columns])
        stdout.write(render(columns, rows, width) + "\n")


def telling(columns: Sequence[str], rows: Sequence[Sequence[Any]], hidden: frozenset[str]) -> list[bool]:
    """Return for each column whether a table has it: no hidden or empty column, and no host that all rows share."""
    return [
        name not in hidden and any(row[place] not in (None, "") for row in rows) and not _is_one_host(name, place, rows)
        for place, name in enumerate(columns)
    ]


def render(columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None) -> str:
    """Return the table in at most `width` characters a line where that is possible; None means no limit."""
    table = prettytable.PrettyTable(list(columns))
    table.align = "l"
    table.add_rows([list(row) for row in rows])
    for place, name in enumerate(columns):
        if all(type(row[place]) is int for row in rows):
            table.align[name] = "r"
    if width is not None:
        table.max_width.update(zip(columns, widths(_texts(columns, rows), _usable(columns, width)), strict=True))
    return str(table.get_string())


def fits(columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> bool:
    """Return whether a table of this width breaks no word of usual length."""
    return sum(map(_longest_word, _texts(columns, rows))) <= _usable(columns, width)


def widths(columns: Sequence[Sequence[str]], usable: int) -> list[int]:
    """Share `usable` characters among columns of texts: first for the words, then for whole texts."""
    natural = [max(map(len, column)) for column in columns]
    floors = [_longest_word(column) for column in columns]
    if sum(floors) >= usable:
        return [max(NARROWEST, width) for width in _shared(floors, usable)]
    more = _shared([whole - floor for whole, floor in zip(natural, floors, strict=True)], usable - sum(floors))
    return [floor + extra for floor, extra in zip(floors, more, strict=True)]


def _width(options: argparse.Namespace, output: TextIO) -> int | None:
    """Return the width for which the options ask, or that of a terminal; None means no limit."""
    if options.max_width > 0:
        return int(options.max_width)
    return shutil.get_terminal_size().columns if output.isatty() or options.fit_width else None


def _restricted(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], chosen: Sequence[bool]
) -> tuple[list[str], list[Sequence[Any]]]:
    return list(compress(columns, chosen)), [list(compress(row, chosen)) for row in rows]


def _texts(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[list[str]]:
    """Return the texts of each column, its name first."""
    return [[name, *(str(row[place]) for row in rows)] for place, name in enumerate(columns)]


def _longest_word(column: Sequence[str]) -> int:
    return max(min(len(word), LONGEST_WORD) for cell in column for word in cell.split() or [""])


def _usable(columns: Sequence[str], width: int) -> int:
    return width - _EDGE - _BORDER * len(columns)


def _shared(wishes: Sequence[int], total: int) -> list[int]:
    """Share a total: a column with few characters gets all that it requires, the others get equal parts of the rest."""
    parts = [0] * len(wishes)
    for number, place in enumerate(sorted(range(len(wishes)), key=wishes.__getitem__)):
        parts[place] = min(wishes[place], total // (len(wishes) - number))
        total -= parts[place]
    return parts


def _is_one_host(name: str, place: int, rows: Sequence[Sequence[Any]]) -> bool:
    return name == "Host" and len({row[place] for row in rows}) == 1
