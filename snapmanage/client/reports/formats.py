"""Write a report as HTML, CSV or JSON, safe for browsers and spreadsheets."""

import csv
import html
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

from snapmanage.client.plan.cells import guarded
from snapmanage.client.plan.entries import Header
from snapmanage.client.reports.outcomes import COLUMNS, GROUP_COLUMNS, Group, Line
from snapmanage.core.values.text import printable

Write = Callable[[IO[str], Header, list[Group], Iterable[Line]], None]


def write_csv(file: IO[str], header: Header, groups: list[Group], lines: Iterable[Line]) -> None:
    """Write a row for each snapshot; a cell that could be a formula begins with an apostrophe."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    writer.writerows([_cell(each) for each in line.cells()] for line in lines)


def write_json(file: IO[str], header: Header, groups: list[Group], lines: Iterable[Line]) -> None:
    """Write one object with the plan, the groups and the snapshots."""
    head = {"plan": header.as_json(), "groups": [_object(GROUP_COLUMNS, group.cells()) for group in groups]}
    file.write(json.dumps(head)[:-1] + ', "snapshots": [')
    for number, line in enumerate(lines):
        file.write(("," if number else "") + "\n" + json.dumps(_object(COLUMNS, line.cells())))
    file.write("]}\n")


def write_html(file: IO[str], header: Header, groups: list[Group], lines: Iterable[Line]) -> None:
    """Write a page without scripts; text from outside is escaped."""
    title = _escaped(f"Plan {header.plan_id}")
    file.write(
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{title}</title>\n{_STYLE}</head><body>\n"
    )
    file.write(f"<h1>{title}</h1>\n<p>{_escaped(f'{header.endpoint}, made {header.created_at}')}</p>\n")
    for part in _table(GROUP_COLUMNS, (group.cells() for group in groups)):
        file.write(part)
    file.write("<h2>Snapshots</h2>\n")
    for part in _table(COLUMNS, (line.cells() for line in lines)):
        file.write(part)
    file.write("</body></html>\n")


FORMATS: Mapping[str, Write] = {".csv": write_csv, ".html": write_html, ".json": write_json}
_STYLE = (
    "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    "<style>body{font:14px sans-serif}table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:2px 6px;"
    "text-align:left}</style>"
)


def _table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    yield "<table>\n" + _row("th", columns)
    for row in rows:
        yield _row("td", row)
    yield "</table>\n"


def _row(tag: str, cells: Iterable[Any]) -> str:
    return "<tr>" + "".join(f"<{tag}>{_escaped(cell)}</{tag}>" for cell in cells) + "</tr>\n"


def _escaped(value: Any) -> str:
    return "" if value is None else html.escape(printable(str(value)))


def _cell(value: Any) -> str:
    return "" if value is None else guarded(printable(str(value)))


def _object(columns: Iterable[str], cells: Iterable[Any]) -> dict[str, Any]:
    return {name.lower().replace(" ", "_"): cell for name, cell in zip(columns, cells, strict=True)}
