"""The help texts of the client commands."""

from types import SimpleNamespace
from typing import Any

import pytest

from snapmanage.client.app import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_each_paragraph_of_a_help_text_ends_with_a_full_stop(name: str) -> None:
    app: Any = SimpleNamespace()

    description = COMMANDS[name](app, None).get_parser(f"snapmanage {name}").description or ""

    paragraphs = [" ".join(each.split()) for each in description.strip().split("\n\n")]
    assert len(paragraphs) == 1 or all(each.endswith(".") for each in paragraphs)
