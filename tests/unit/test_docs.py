"""The pages in docs/ tell of what there is: each path, each option's section, each command; so do docstrings."""

import ast
import inspect
import pkgutil
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from snapmanage import conf
from snapmanage.api import routes
from snapmanage.volume.endpoint import Endpoint
from tests.example_sections import ExampleSection, example_sections

REPOSITORY = Path(__file__).parents[2]
PAGES = REPOSITORY / "docs"
# Pages name a file from the repository or from the package.
ROOTS = (REPOSITORY, REPOSITORY / "snapmanage")
API = (PAGES / "api.md").read_text()
BUS = (PAGES / "bus.md").read_text()
DRIVERS = {each.name: each for each in entry_points(group="snapmanage.drivers") if "snapmanage." in each.module}


@pytest.mark.parametrize("path", [*(f"/v3{each}" for each in routes.PROJECT), *routes.ROOT])
def test_page_of_the_api_shows_every_resource(path: str) -> None:
    shown = re.sub(r"^/v3(?=/(?!openapi))", "", path)

    # In a heading, alone or among others.
    assert any(re.search(rf"[ `,]{re.escape(shown)}[`,]", line) for line in API.splitlines() if line.startswith("#")), (
        shown
    )


@pytest.mark.parametrize("method", ["manage_snapshot", "unmanage_snapshot", "get_manageable_snapshots"])
def test_page_of_the_bus_names_every_argument_of_a_method(method: str) -> None:
    [row] = [line for line in BUS.splitlines() if line.startswith(f"| `{method}`")]

    arguments = list(inspect.signature(getattr(Endpoint, method)).parameters)[2:]
    assert [argument for argument in arguments if f"`{argument}`" not in row] == []


@pytest.mark.parametrize(
    "page",
    sorted(PAGES.parent.glob("*.md")) + sorted(PAGES.rglob("*.md")),
    ids=lambda page: str(page.relative_to(PAGES.parent)),
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_page_of_a_driver_names_each_of_its_options(driver: str) -> None:
    page = (PAGES / "reference" / "drivers" / f"{driver}.md").read_text()

    assert [option.name for option in DRIVERS[driver].load().options if f"| `{option.name}` |" not in page] == []


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_page_of_a_driver_describes_late_renames(driver: str) -> None:
    page = (PAGES / "reference" / "drivers" / f"{driver}.md").read_text()

    assert "\n## Late renames\n" in page


@pytest.mark.parametrize(
    "section", [each for each in example_sections() if each.driver in DRIVERS and not each.vendor], ids=str
)
def test_example_section_sets_only_options_of_its_driver(section: ExampleSection) -> None:
    known = {option.name for option in (*conf.BACKEND, *DRIVERS[section.driver].load().options)}

    assert set(re.findall(r"(?m)^(\w+) *=", section.lines)) <= known


@pytest.mark.parametrize("module", sorted(each.module for each in DRIVERS.values()))
def test_driver_s_docstring_tells_what_late_renames_could_do(module: str) -> None:
    source = (PAGES.parent / module.replace(".", "/")).with_suffix(".py").read_text()

    assert "**Late renames.**" in (ast.get_docstring(ast.parse(source)) or "")


def test_drivers_whose_docstrings_are_read_are_all_that_there_are() -> None:
    assert {"snapmanage.drivers.fake", "snapmanage.drivers.file", "snapmanage.drivers.qcow2.driver"} < {
        each.module for each in DRIVERS.values()
    }


def principal_functions() -> list[str]:
    """Return the names in the table below the figure of the architecture page, in its order."""
    page = (PAGES / "explanation" / "architecture.md").read_text()
    return re.findall(r"(?m)^\| \d+ \| `([\w.]+)` \|", page)


@pytest.mark.parametrize("name", principal_functions())
def test_architecture_page_names_functions_that_exist(name: str) -> None:
    assert callable(pkgutil.resolve_name(f"snapmanage.{name}"))


def test_architecture_page_names_the_eleven_principal_functions() -> None:
    assert len(principal_functions()) == 11


@pytest.mark.parametrize("page", sorted(PAGES.rglob("*.md")), ids=lambda page: str(page.relative_to(PAGES)))
def test_page_names_only_files_that_exist(page: Path) -> None:
    named = re.findall(r"`((?:[\w-]+/)+[\w*-]+\.(?:py|sh|json))`", page.read_text())

    assert [name for name in named if not any(any(root.glob(name)) for root in ROOTS)] == []
