"""Tables show only columns that say something, and fit a terminal."""

import io
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from snapmanage.client.reports.tables import Table, widths

COLUMNS = ("Host", "Name", "Id", "Why")
ROW = ("h@b", "disk-1@daily", 7, "a reason")


def printed(
    *rows: Sequence[Any], columns: Sequence[str] = COLUMNS, hidden: str = "", width: int = 0, chosen: bool = False
) -> tuple[list[str], str]:
    """Return the lines of a table, and the notes beside it."""
    output, notes = io.StringIO(), io.StringIO()
    options = Namespace(max_width=width, fit_width=False, print_empty=False, columns=list(columns) if chosen else [])
    Table(frozenset({hidden}), ["Id"], "nothing found", notes).emit_list(columns, rows, output, options)
    return output.getvalue().splitlines(), notes.getvalue()


def heading(lines: Sequence[str]) -> list[str]:
    return lines[1].strip("|").split(" | ")


def test_hidden_column_is_left_out() -> None:
    lines, _ = printed(ROW, ("other@b", *ROW[1:]), hidden="Id")

    assert [cell.strip() for cell in heading(lines)] == ["Host", "Name", "Why"]


def test_column_is_left_out_if_it_is_empty_in_each_row() -> None:
    lines, _ = printed(("h@b", "a", None, ""), ("other@b", "b", None, None))

    assert [cell.strip() for cell in heading(lines)] == ["Host", "Name"]


def test_host_is_left_out_if_all_rows_share_it() -> None:
    lines, _ = printed(ROW, ROW)

    assert [cell.strip() for cell in heading(lines)] == ["Name", "Id", "Why"]


def test_chosen_columns_are_shown_in_any_case() -> None:
    lines, _ = printed(ROW, hidden="Id", chosen=True)

    assert [cell.strip() for cell in heading(lines)] == list(COLUMNS)


def test_sentence_takes_the_place_of_a_table_without_rows() -> None:
    assert printed() == ([], "nothing found\n")


def test_table_fits_its_width() -> None:
    lines, _ = printed(("h@b", "x" * 40, 7, "many words " * 10), ("other@b", "y", 8, "few"), width=60)

    assert {len(line) for line in lines} == {60}


def test_prose_gives_way_before_words_are_broken() -> None:
    name, prose = "n" * 20, "some words " * 9

    assert widths([[name], [prose], ["12"]], 50) == [20, 28, 2]


def test_secondary_column_is_left_out_where_words_would_be_broken() -> None:
    row = ("h@b", "x" * 20, "y" * 20, "why"), ("other@b", "x", "y", "why")

    wide, narrow = (printed(*row, width=width)[0] for width in (80, 50))

    assert [cell.strip() for cell in heading(wide)] == list(COLUMNS)
    assert [cell.strip() for cell in heading(narrow)] == ["Host", "Name", "Why"]


def test_narrow_terminal_breaks_the_longest_words() -> None:
    assert widths([["disk-1@daily"], ["a reason"]], 14) == [8, 6]
