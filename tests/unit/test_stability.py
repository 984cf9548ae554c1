"""The stability note lists the public modules; they export names that exist, enough for the example of a driver."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTE = (ROOT / "docs" / "reference" / "stability.md").read_text()
EXAMPLE = ROOT / "examples" / "snapmanage-driver-array" / "snapmanage_driver_array"
PUBLIC = re.findall(r"^\| `(snapmanage\.[\w.]+)` \|", NOTE, re.MULTILINE)


def imports_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of each import from snapmanage."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("snapmanage"):
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("module", PUBLIC)
def test_public_module_exports_names_that_exist(module: str) -> None:
    loaded = import_module(module)

    assert loaded.__all__
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []


def test_example_of_a_driver_imports_public_names_only() -> None:
    names = set(imports_of(EXAMPLE / "driver.py"))

    assert names
    assert [
        (module, name)
        for module, name in names
        if f"{module}.{name}" not in PUBLIC and name not in getattr(import_module(module), "__all__", ())
    ] == []


def test_package_says_that_it_has_annotations() -> None:
    assert files("snapmanage").joinpath("py.typed").is_file()
