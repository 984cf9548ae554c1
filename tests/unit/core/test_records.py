"""Records are changed and read without their constructor, but they have exactly its fields."""

from dataclasses import replace
from typing import Any

import pytest

from snapmanage.core.records import Snapshot, changed, with_fields
from tests import examples


def test_changed_record_is_that_of_the_constructor() -> None:
    before = examples.snapshot()

    assert changed(before, name="db", attempt=2) == replace(before, name="db", attempt=2)
    assert before == examples.snapshot()


@pytest.mark.parametrize("wrong", [{"title": "db"}, {"name": None, "size": 1}])
def test_unknown_field_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"no such fields, or these are missing: (title|size)"):
        changed(examples.snapshot(), **wrong)


def test_record_without_one_of_its_fields_is_refused() -> None:
    values = dict(vars(examples.snapshot()))
    del values["name"]

    with pytest.raises(TypeError, match="missing: name"):
        with_fields(Snapshot, values)
