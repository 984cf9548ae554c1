"""The fields of log lines: order, escaping, and absent values."""

import pytest

from snapmanage.core.values.logfields import fields
from tests import examples


def test_record_is_named_with_its_backend_generation_status_and_request() -> None:
    line = fields(examples.snapshot(generation=3), attempt=2)

    assert line.startswith(f"snapshot={examples.SNAPSHOT_ID} backend={examples.SERVER} generation=3 status=creating")
    assert line.endswith(" attempt=2")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain-1", "plain-1"),
        ("two words", '"two words"'),
        ("line\nend \x1b[31m", r'"line\nend \u001b[31m"'),
        ('a"b', r'"a\"b"'),
        ("", '""'),
        ("né", r'"n\u00e9"'),
    ],
)
def test_text_from_outside_is_escaped(value: str, written: str) -> None:
    assert fields(reason=value) == f"reason={written}"


def test_absent_value_is_left_out() -> None:
    assert fields(attempt=1, reason=None) == "attempt=1"


@pytest.mark.parametrize(("length", "written"), [(2000, "x" * 2000), (2001, '"' + "x" * 2000 + '\\u2026"')])
def test_long_value_is_cut(length: int, written: str) -> None:
    assert fields(reason="x" * length) == f"reason={written}"
