"""The formats of lists and reports: a table for a person, and JSON for a program."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies

from snapmanage.cmd.manage import formats

MOMENT = datetime(2026, 3, 1, 12, 0, 0, 5000, tzinfo=UTC)
ANY_TEXT = strategies.text(strategies.characters(exclude_categories=()))


class Colour(Enum):
    RED = "red"


def asking_for(name: str) -> Any:
    return SimpleNamespace(command=SimpleNamespace(format=name))


JSON, TABLE = asking_for("json"), asking_for("table")
ROWS = [
    {"id": "a", "status": Colour.RED, "created_at": MOMENT, "up": True, "reason": None},
    {"id": "bb", "status": Colour.RED, "created_at": MOMENT, "up": False, "reason": "x"},
]


def test_table_has_headings_and_aligned_cells(capsys: pytest.CaptureFixture[str]) -> None:
    formats.rows(TABLE, ROWS)

    assert capsys.readouterr().out.splitlines() == [
        "ID  STATUS  CREATED AT                 UP   REASON",
        "a   red     2026-03-01T12:00:00+00:00  yes  -",
        "bb  red     2026-03-01T12:00:00+00:00  no   x",
    ]


def test_json_has_exact_values(capsys: pytest.CaptureFixture[str]) -> None:
    formats.rows(JSON, ROWS)

    [first, second] = json.loads(capsys.readouterr().out)
    assert first == {
        "id": "a",
        "status": "red",
        "created_at": "2026-03-01T12:00:00.005000+00:00",
        "up": True,
        "reason": None,
    }
    assert second["reason"] == "x"


@pytest.mark.parametrize(("conf", "printed"), [(JSON, "[]\n"), (TABLE, "")])
def test_empty_list_is_an_empty_array_or_no_line(conf: Any, printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    formats.rows(conf, [])
    with formats.report(conf):
        pass

    assert capsys.readouterr().out == printed * 2


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=strategies.lists(ANY_TEXT))
def test_every_text_is_exact_in_json_and_printable(texts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    formats.rows(JSON, ({"text": each} for each in texts))

    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.split("\n"))
    assert [row["text"] for row in json.loads(printed)] == texts


def test_report_that_fails_half_way_is_complete_json(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(RuntimeError), formats.report(JSON) as report:
        report.add("first", number=1)
        report.add("second", "  its result", number=2)
        raise RuntimeError

    assert json.loads(capsys.readouterr().out) == [{"number": 1}, {"number": 2}]


def test_report_prints_the_lines_of_each_entry(capsys: pytest.CaptureFixture[str]) -> None:
    with formats.report(TABLE) as report:
        report.add("second", "  its result", number=2)

    assert capsys.readouterr().out == "second\n  its result\n"


def test_object_is_json_or_the_lines_that_describe_it(capsys: pytest.CaptureFixture[str]) -> None:
    formats.document(JSON, {"limits": {Colour.RED: (1, 2)}}, ["red  1"])
    in_json = capsys.readouterr().out
    formats.document(TABLE, {"limits": {}}, ["red  1"])

    assert json.loads(in_json) == {"limits": {"red": [1, 2]}}
    assert capsys.readouterr().out == "red  1\n"
