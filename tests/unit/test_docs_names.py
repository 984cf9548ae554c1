"""The pages name only files and functions that exist."""

import pkgutil
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = REPOSITORY / "docs"
# Pages name a file from the repository or from the package.
ROOTS = (REPOSITORY, REPOSITORY / "snapmanage")
ARCHITECTURE = (PAGES / "explanation" / "architecture.md").read_text()
# In the table below the figure, in its order.
PRINCIPAL_FUNCTIONS = re.findall(r"(?m)^\| \d+ \| `([\w.]+)` \|", ARCHITECTURE)


def test_architecture_page_names_eleven_principal_functions() -> None:
    assert len(PRINCIPAL_FUNCTIONS) == 11


@pytest.mark.parametrize("name", PRINCIPAL_FUNCTIONS)
def test_principal_function_exists(name: str) -> None:
    assert callable(pkgutil.resolve_name(f"snapmanage.{name}"))


@pytest.mark.parametrize("page", sorted(PAGES.rglob("*.md")), ids=lambda page: str(page.relative_to(PAGES)))
def test_page_names_only_files_that_exist(page: Path) -> None:
    named = re.findall(r"`((?:[\w-]+/)+[\w*-]+\.(?:py|sh|json))`", page.read_text())

    assert [name for name in named if not any(any(root.glob(name)) for root in ROOTS)] == []
