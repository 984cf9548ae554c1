"""The pages in docs/ name each resource of the API and each argument of the bus; their links lead to files."""

import ast
import inspect
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from snapmanage.api import routes
from snapmanage.volume.endpoint import Endpoint

PAGES = Path(__file__).parents[2] / "docs"
API = (PAGES / "reference" / "api.md").read_text()
BUS = (PAGES / "reference" / "bus.md").read_text()


def modules_of_own_drivers() -> list[str]:
    """Return the modules of snapmanage's own drivers."""
    return sorted(each.module for each in entry_points(group="snapmanage.drivers") if "snapmanage." in each.module)


@pytest.mark.parametrize("path", [*(f"/v3{each}" for each in routes.PROJECT), *routes.ROOT])
def test_page_of_the_api_shows_every_resource(path: str) -> None:
    shown = re.sub(r"^/v3(?=/(?!openapi))", "", path)

    # A heading names the resource, alone or with others.
    assert any(re.search(rf"[ `,]{re.escape(shown)}[`,]", line) for line in API.splitlines() if line.startswith("#")), (
        shown
    )


@pytest.mark.parametrize("method", ["manage_snapshot", "unmanage_snapshot", "get_manageable_snapshots"])
def test_page_of_the_bus_names_every_argument_of_a_method(method: str) -> None:
    [row] = [line for line in BUS.splitlines() if line.startswith(f"| `{method}`")]

    arguments = list(inspect.signature(getattr(Endpoint, method)).parameters)[2:]
    assert [argument for argument in arguments if f"`{argument}`" not in row] == []


@pytest.mark.parametrize(
    "page", sorted(PAGES.parent.glob("*.md")) + sorted(PAGES.rglob("*.md")), ids=lambda page: page.name
)
def test_links_between_pages_lead_to_existing_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", sorted(PAGES.rglob("*.md")), ids=lambda page: page.name)
def test_command_of_a_page_imports_nothing_from_the_current_folder(page: Path) -> None:
    assert re.findall(r"python3? -c.*", page.read_text()) == []


def test_readme_is_short_enough_to_be_read_whole() -> None:
    assert len((PAGES.parent / "README.md").read_text().splitlines()) < 120


@pytest.mark.parametrize("module", modules_of_own_drivers())
def test_docstring_of_a_driver_describes_late_renames(module: str) -> None:
    source = (PAGES.parent / module.replace(".", "/")).with_suffix(".py").read_text()

    assert "**Late renames.**" in (ast.get_docstring(ast.parse(source)) or "")


def test_docstrings_of_all_drivers_are_checked() -> None:
    assert {"snapmanage.drivers.fake", "snapmanage.drivers.file", "snapmanage.drivers.qcow2.driver"} < set(
        modules_of_own_drivers()
    )
