"""Read the backend entries that the pages of the documentation show."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGES = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md")))


@dataclass(frozen=True)
class ExampleSection:
    """A backend entry as a page shows it; `lines` are the lines below `[name]`."""

    page: str
    name: str
    lines: str

    def __str__(self) -> str:
        return f"{self.page}-{self.vendor or self.driver}"

    @property
    def driver(self) -> str:
        return self._value("driver")

    @property
    def vendor(self) -> str:
        """The driver of a vendor that the driver `cinder` runs; empty for every other driver."""
        return self._value("volume_driver")

    def _value(self, option: str) -> str:
        found = re.search(rf"(?m)^{option} *= *(\S+)", self.lines)
        return found[1] if found else ""

    def with_values(self, values: Mapping[str, object]) -> str:
        """Return the lines with other values; the rest of a line, such as a comment after its value, stays.

        Raise `AssertionError` for an option that the section doesn't have.
        """
        lines = self.lines
        for option, value in values.items():
            lines, found = re.subn(rf"(?m)^({option} *= *)\S+", rf"\g<1>{value}", lines)
            assert found == 1, f"the section [{self.name}] of {self.page} has no option {option}"
        return lines


def example_sections() -> list[ExampleSection]:
    """Return every section with a `driver` in a block of INI on any page."""
    return [section for page in PAGES for block in _blocks(page) for section in _sections(page.name, block)]


def _blocks(page: Path) -> Iterator[str]:
    for block in re.finditer(r"^( *)```ini\n(.*?)^\1```", page.read_text(), re.DOTALL | re.MULTILINE):
        yield textwrap.dedent(block[2])


def _sections(page: str, block: str) -> Iterator[ExampleSection]:
    _, *parts = re.split(r"(?m)^\[([^\]]+)\]\n", block)
    for name, lines in zip(parts[::2], parts[1::2], strict=True):
        if (section := ExampleSection(page, name, lines)).driver:
            yield section
