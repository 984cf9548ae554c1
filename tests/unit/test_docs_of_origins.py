"""The page of origins shows each pattern of the table, and the example file can be read."""

from itertools import groupby
from pathlib import Path

from snapmanage.cmd.wiring import origins
from snapmanage.core.origins import definitions
from snapmanage.core.origins.forms import FIELDS
from snapmanage.core.origins.patterns import Clock, Pattern
from snapmanage.core.origins.table import BUILT_IN

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "origins.md").read_text()
SAMPLE = ROOT / "etc" / "snapmanage" / "origins.yaml.sample"
KEYS = ("tool", "names", "rename", "why", "drivers", "parents", "orphans", "classes", "class", "time", "requires")


def table() -> str:
    """Return the table as the page must have it; a failing test shows it."""
    lines = ["| tool | drivers | names | a new name |", "|---|---|---|---|"]
    for _, same in groupby(BUILT_IN, key=lambda each: (each.tool, each.drivers, each.names)):
        lines.append(_line(list(same)))
    return "\n".join(lines)


def _line(patterns: list[Pattern]) -> str:
    first = patterns[0]
    drivers = ", ".join(sorted(first.drivers - {"fake"})) or "every driver"
    names = ", ".join(f"`{form.text}`" for form in first.names)
    classes = next((form.classes for form in first.names if form.classes), ())
    conditions = [
        f"class {', '.join(classes)}" if classes else "",
        "times in local time" if first.clock is Clock.LOCAL else "",
        f"volume {', '.join(f'`{form.text}`' for form in first.parents)}" if first.parents else "",
        "or without a volume" if first.orphans else "",
    ]
    text = "; ".join(filter(None, [names, *conditions]))
    return f"| {first.tool} | {drivers} | {text} | {'; '.join(map(_advice, patterns))} |"


def _advice(pattern: Pattern) -> str:
    condition = f" with `{pattern.requires}`" if pattern.requires else ""
    return f"**{pattern.rename.value}**{condition}: {pattern.why}"


def test_page_shows_every_pattern() -> None:
    assert table() in PAGE, f"replace the table in docs/reference/origins.md by:\n{table()}"


def test_page_and_example_name_each_field_and_key() -> None:
    for text in (PAGE, SAMPLE.read_text()):
        assert [field for field in FIELDS if f"{{{field}}}" not in text] == []
        assert [key for key in KEYS if key not in text] == []


def test_example_can_be_read() -> None:
    added = [pattern for pattern in origins.read(SAMPLE) if pattern not in BUILT_IN]

    assert [pattern.tool for pattern in added] == ["nightly", "backup-agent"]


def test_page_shows_an_entry_that_can_be_read() -> None:
    [example] = [block.partition("```")[0] for block in PAGE.split("```yaml\n")[1:]]

    assert definitions.read(origins.parse(example.encode()), BUILT_IN)[0].tool == "nightly"
