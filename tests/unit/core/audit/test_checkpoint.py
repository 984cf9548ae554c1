"""A checkpoint's file is read as it was written, or refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snapmanage import errors
from snapmanage.core.audit import checkpoint as checkpoints
from snapmanage.core.audit.chain import Head
from snapmanage.core.audit.checkpoint import Checkpoint
from snapmanage.core.audit.generations import NONE
from tests.examples import LOG_ID, NOW

MADE = Checkpoint(LOG_ID, Head(7, "a" * 64), 3, "b" * 64, NOW.isoformat(timespec="microseconds"), "c" * 64)
SIGNATURE = bytes(64)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def written(**fields: Any) -> str:
    content = json.loads(checkpoints.dump(MADE, SIGNATURE))
    content["checkpoint"] |= fields
    return json.dumps(content)


def test_checkpoint_is_read_as_it_was_written() -> None:
    assert checkpoints.load(written()) == (MADE, SIGNATURE)


@given(st.sampled_from(sorted(json.loads(MADE.signed_text))), JSON)
def test_every_changed_field_changes_the_signed_text_or_is_refused(name: str, value: Any) -> None:
    if (stated := json.loads(MADE.signed_text))[name] == value and type(stated[name]) is type(value):
        return
    try:
        changed, _ = checkpoints.load(written(**{name: value}))
    except errors.InvalidRequest:
        return
    assert changed.signed_text != MADE.signed_text


@given(JSON)
def test_other_json_is_refused(value: Any) -> None:
    for content in (value, {"checkpoint": value, "signature": "0" * 128}, {"checkpoint": {}, "signature": value}):
        with pytest.raises(errors.InvalidRequest):
            checkpoints.load(json.dumps(content))


@pytest.mark.parametrize("surplus", [{"more": 1}, {"number": True}, {"number": -1}, {"number": 2**63}, {"rows": 1}])
def test_surplus_or_invalid_field_is_refused(surplus: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest):
        checkpoints.load(written(**surplus))


def test_digest_depends_on_each_generation_and_each_snapshot() -> None:
    known = [("a", NONE.with_each([1, 2])), ("b", NONE.with_each([1]))]
    others = [known[:1], known[1:], [("a", NONE.with_each([1])), known[1]], [("a", known[0][1]), ("c", known[1][1])]]

    digests = {checkpoints.generations_digest(each) for each in (known, *others)}

    assert len(digests) == len(others) + 1
