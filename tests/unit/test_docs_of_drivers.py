"""Each driver has a page with its options, and the examples of the pages fit the drivers."""

import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from snapmanage import conf
from tests.example_sections import ExampleSection, example_sections

PAGES = Path(__file__).parents[2] / "docs" / "reference" / "drivers"
OWN_DRIVERS = {each.name: each for each in entry_points(group="snapmanage.drivers") if "snapmanage." in each.module}
# The options of a vendor driver are unknown here.
SECTIONS = [section for section in example_sections() if section.driver in OWN_DRIVERS and not section.vendor]


@pytest.fixture(params=sorted(OWN_DRIVERS))
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_page_of_a_driver_names_each_of_its_options(driver: str) -> None:
    page = (PAGES / f"{driver}.md").read_text()

    assert [option.name for option in OWN_DRIVERS[driver].load().options if f"| `{option.name}` |" not in page] == []


def test_page_of_a_driver_describes_late_renames(driver: str) -> None:
    assert "\n## Late renames\n" in (PAGES / f"{driver}.md").read_text()


def test_comparison_links_to_the_page_of_each_driver(driver: str) -> None:
    assert f"]({driver}.md)" in (PAGES / "comparison.md").read_text()


@pytest.mark.parametrize("section", SECTIONS, ids=str)
def test_example_sets_only_options_of_its_driver(section: ExampleSection) -> None:
    known = {option.name for option in (*conf.BACKEND, *OWN_DRIVERS[section.driver].load().options)}

    assert set(re.findall(r"(?m)^(\w+) *=", section.lines)) <= known
