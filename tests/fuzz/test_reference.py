"""References of clients."""

import json

from snapmanage import errors
from snapmanage.core.reference import Reference
from tests.fuzz.hostile import ANY_TEXT, JSON, bounded, fuzz, reshaped

SAMPLES = ({"source-name": "disk1.img@daily"}, {"source-id": "1-2"}, {"source-name": {"a": [{"b": "c"}]}})


@fuzz(reshaped(*SAMPLES) | ANY_TEXT)
def test_reference_is_refused_or_survives_its_own_text(value: object) -> None:
    with bounded(value, errors.InvalidReference):
        reference = Reference.of(value)  # type: ignore[arg-type]
        assert Reference.of(reference.value) == reference
        assert json.loads(reference.text) == reference.value
        reference.name()


@fuzz(ANY_TEXT)
def test_reference_of_a_name_has_exactly_this_name(name: str) -> None:
    with bounded(name):
        reference = Reference.named(name)
        assert reference.value == {"source-name": name}
        assert reference == Reference.of(name)


@fuzz(JSON)
def test_deep_reference_is_refused(inner: object) -> None:
    for _ in range(33):
        inner = [inner]
    with bounded(inner, errors.InvalidReference):
        Reference.of({"source-name": inner})
        raise AssertionError("accepted")
