"""The arguments of a message at their limits."""

from typing import Any

import pytest

from snapmanage import errors
from snapmanage.core.records import Requester
from snapmanage.volume import arguments
from snapmanage.volume.arguments import LARGEST_GB

LONGEST = "x" * 255


def test_text_has_at_most_255_characters() -> None:
    assert arguments.text("name", LONGEST) == LONGEST
    with pytest.raises(errors.InvalidRequest, match="name must be a text of up to 255 characters"):
        arguments.text("name", LONGEST + "x")


@pytest.mark.parametrize("name", ["project_id", "user_id", "request_id", "global_request_id"])
def test_texts_of_a_requester_have_at_most_255_characters_each(name: str) -> None:
    fits = {"project_id": "p", name: LONGEST}

    assert arguments.requester(fits, None, None) == Requester(**fits)
    with pytest.raises(errors.InvalidRequest, match=f"{name} must be a text of up to 255 characters"):
        arguments.requester(fits | {name: LONGEST + "x"}, None, None)


@pytest.mark.parametrize("value", ["text", ["k"], 7, {"k": 7}])
def test_metadata_of_another_type_are_refused_with_a_sentence(value: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"metadata must be an object of texts$"):
        arguments.metadata(value, {})


def test_size_of_a_volume_fits_into_every_database() -> None:
    assert arguments.size_gb(LARGEST_GB - 1) == LARGEST_GB - 1
    with pytest.raises(errors.InvalidRequest, match="volume_size"):
        arguments.size_gb(LARGEST_GB)
