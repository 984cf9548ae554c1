"""Read the blocks of configuration that a page shows, with the values of a test in place of the page's."""

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

HOW_TO = Path(__file__).parents[1] / "docs" / "how-to"


def block(page: str, heading: str, holding: str) -> str:
    """Return the one block below a heading of a page that holds a text."""
    chapter = re.search(rf"(?ms)^#+ {re.escape(heading)}\n(.*?)(?=^##+ |\Z)", (HOW_TO / page).read_text())
    assert chapter, f"{page} has no heading {heading!r}"
    found = re.findall(r"(?ms)^ *```\w+\n(.*?)^ *```", chapter[1])
    [only] = [textwrap.dedent(each) for each in found if holding in each]
    return only


def adapted(text: str, values: Mapping[str, object]) -> str:
    """Return the text with other values; fail if the text has none of one of them."""
    for old, new in values.items():
        assert old in text, f"the page does not show {old!r}"
        text = text.replace(old, str(new))
    return text
