"""constraints.txt and the bill of materials: an environment of pinned packages alone runs snapmanage."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the environment `pinned` and the bill of materials, as `make sbom` makes them."""
    made = tmp_path_factory.mktemp("sbom")
    # The tests' environment exists: its two targets are not made again.
    options = ["-o", f"{sys.prefix}/tested", f"VENV={sys.prefix}", f"PYTHON={sys.executable}"]
    files = [f"PINNED={made}/pinned", f"SBOM={made}/sbom.json"]
    subprocess.run(["make", "--no-print-directory", *options, *files, "sbom"], cwd=ROOT, check=True, timeout=600)
    return made


@pytest.fixture(scope="module")
def components(folder: Path) -> Mapping[str, Any]:
    """Return the components of the bill of materials by their canonical names."""
    document = json.loads((folder / "sbom.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    return {canonicalize_name(each["name"]): each for each in document["components"]}


def test_demo_runs_on_the_pinned_packages(folder: Path) -> None:
    shown = subprocess.run([folder / "pinned/bin/snapmanage", "demo"], capture_output=True, text=True, timeout=120)

    assert shown.returncode == 0, shown.stderr
    assert "snapshot.manage.end" in shown.stdout


def test_bill_of_materials_has_only_the_pinned_packages(components: Mapping[str, Any]) -> None:
    pins = PINNED.findall((ROOT / "constraints.txt").read_text())
    pinned = {(canonicalize_name(name), version) for name, version in pins}
    found = {(name, each["version"]) for name, each in components.items() if name != "snapmanage"}

    assert found
    assert found - pinned == set()


def test_bill_of_materials_has_snapmanage_with_its_licence(components: Mapping[str, Any]) -> None:
    [licence] = components["snapmanage"]["licenses"]

    assert licence["license"]["id"] == "Apache-2.0"


def test_each_component_has_a_package_url(components: Mapping[str, Any]) -> None:
    assert [name for name, each in components.items() if not each["purl"].startswith("pkg:pypi/")] == []


def test_bill_of_materials_names_no_path_of_the_machine(folder: Path) -> None:
    assert str(ROOT) not in (folder / "sbom.json").read_text()
    assert "file://" not in (folder / "sbom.json").read_text()
