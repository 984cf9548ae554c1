"""Tables for people: only columns that say something, as wide as the terminal allows."""

import argparse
import shutil
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, TextIO

import prettytable
from cliff.formatters.base import ListFormatter

# A cell may be broken after this many characters, even inside a word.
LONGEST_WORD = 24
# Between two columns, and at the left edge.
_BORDER, _EDGE = 3, 1


class Table(ListFormatter):
    """Prints rows as a table, without the columns of `hidden` and those that say nothing, unless they are chosen.

    In place of a table without rows, it writes the sentence `nothing` to `notes`.
    """

    def __init__(self, hidden: frozenset[str], nothing: str, notes: TextIO) -> None:
        self._hidden = hidden
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
        if rows and not parsed_args.columns:
            chosen = telling(columns, rows, self._hidden)
            columns, rows = list(compress(columns, chosen)), [list(compress(row, chosen)) for row in rows]
        stdout.write(render(columns, rows, _width(parsed_args, stdout)) + "\n")


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
    cells = {name: [row[place] for row in rows] for place, name in enumerate(columns)}
    for name in columns:
        if all(type(cell) is int for cell in cells[name]):
            table.align[name] = "r"
    if width is not None:
        texts = [[name, *map(str, cells[name])] for name in columns]
        table.max_width.update(zip(columns, widths(texts, width - _EDGE - _BORDER * len(columns)), strict=True))
    return str(table.get_string())


def widths(columns: Sequence[Sequence[str]], usable: int) -> list[int]:
    """Share `usable` characters among columns of texts: first for the words, then for whole texts."""
    natural = [max(map(len, column)) for column in columns]
    words = [
        max(min(len(word), LONGEST_WORD) for cell in column for word in cell.split() or [""]) for column in columns
    ]
    floors = [min(pair) for pair in zip(natural, words, strict=True)]
    if sum(floors) >= usable:
        return [max(1, floor) for floor in floors]
    more = _shared([whole - floor for whole, floor in zip(natural, floors, strict=True)], usable - sum(floors))
    return [floor + extra for floor, extra in zip(floors, more, strict=True)]


def _width(options: argparse.Namespace, output: TextIO) -> int | None:
    """Return the width for which the options ask, or that of a terminal; None means no limit."""
    if options.max_width > 0:
        return int(options.max_width)
    return shutil.get_terminal_size().columns if output.isatty() or options.fit_width else None


def _shared(wishes: Sequence[int], total: int) -> list[int]:
    """Share a total: small wishes are fulfilled, and the large ones get equal parts of the rest."""
    parts = [0] * len(wishes)
    for number, place in enumerate(sorted(range(len(wishes)), key=wishes.__getitem__)):
        parts[place] = min(wishes[place], total // (len(wishes) - number))
        total -= parts[place]
    return parts


def _is_one_host(name: str, place: int, rows: Sequence[Sequence[Any]]) -> bool:
    return name == "Host" and len({row[place] for row in rows}) == 1
