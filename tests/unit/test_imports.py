"""Imports point inwards.

errors ← crash | certificates | files | pulse | core ← store | bus | drivers ← manage
manage ← api | volume | relay | audit ← cmd
core ← client ← cmd
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import snapmanage

ROOT = Path(snapmanage.__file__).parent
# The parts that each part may import, besides itself. `cmd` stands for the mains; its packages are parts of their own.
# `wsgi` is one more main. `conf` imports drivers to show their options in the sample.
ALLOWED = {
    "errors": set[str](),
    "crash": {"errors"},
    "certificates": {"errors"},
    "files": {"errors"},
    "json_text": set[str](),
    "pulse": set[str](),
    "core": {"errors"},
    "store": {"errors", "certificates", "json_text", "core"},
    "bus": {"errors", "crash", "certificates", "json_text", "pulse", "core"},
    "drivers": {"errors", "crash", "core"},
    "manage": {"errors", "crash", "core", "store", "bus", "drivers"},
    "api": {"errors", "crash", "certificates", "pulse", "core", "bus", "manage"},
    "volume": {"errors", "crash", "pulse", "core", "store", "bus", "drivers", "manage"},
    "relay": {"errors", "crash", "pulse", "core", "store", "bus", "manage"},
    "audit": {"errors", "crash", "core", "store", "bus", "manage"},
    "upstream": {"errors", "crash", "certificates", "pulse", "core", "store", "drivers"},
    "conf": {"drivers"},
    "cmd.process": {"errors", "crash", "pulse", "core"},
    "cmd.wiring": {"errors", "certificates", "core", "store", "bus", "drivers", "manage", "api", "volume", "relay"}
    | {"conf", "upstream", "pulse", "cmd.process"},
    "cmd.manage": {"errors", "files", "core", "store", "drivers", "manage", "audit", "cmd.process", "cmd.wiring"},
    "cmd.status": {"errors", "core", "store", "bus", "manage", "audit", "cmd.process", "cmd.wiring"},
    "client": {"errors", "files", "core"},
    "cmd": {"errors", "crash", "core", "store", "bus", "drivers", "manage", "api", "volume", "relay", "audit"}
    | {"client", "pulse", "cmd.process", "cmd.wiring"},
    "wsgi": {"cmd"},
    # Nothing but tests, benchmarks and examples imports it.
    "testing": {"errors", "crash", "core", "store", "bus", "drivers", "manage", "api", "volume", "relay", "audit"},
}
PURE = ("errors", "crash", "certificates", "files", "pulse", "core")
CONF = "oslo_config.cfg.CONF"
# The child process of the driver cinder has a configuration of its own.
BESIDE_CINDER = "drivers/cinder/child.py"


def violations(root: Path) -> list[str]:
    """Return the imports below `root` that break the rules, each with its file and line."""
    return [
        f"{path.relative_to(root)}:{line}: {wrong}"
        for path in sorted(root.rglob("*.py"))
        for line, wrong in _violations(ast.parse(path.read_text()), path.relative_to(root))
    ]


def _violations(tree: ast.Module, path: Path) -> Iterator[tuple[int, str]]:
    part = _part(path.with_suffix("").parts)
    for node in ast.walk(tree):
        for line, name in _reached(node):
            top, *inside = name.split(".")
            if top == "snapmanage":
                other = _part(inside)
                if part not in ALLOWED:
                    yield line, f"{part} has no place in the order of imports"
                elif other not in ("", part, *ALLOWED[part]):
                    yield line, f"{part} must not import {other}"
            elif name == CONF and not part.startswith("cmd") and str(path) != BESIDE_CINDER:
                yield line, f"{part} must not touch cfg.CONF"
            elif part in PURE and top not in sys.stdlib_module_names:
                yield line, f"{part} must not import {top}"


def _part(names: Sequence[str]) -> str:
    """Return the part of a module, such as `core` or `cmd.wiring`, from the names in its path."""
    package = ".".join(names[:2])
    return package if package in ALLOWED else ".".join(names[:1])


def circle(root: Path) -> list[str]:
    """Return modules below `root` that import one another, by imports inside functions too."""
    modules = {_module(path.relative_to(root)): path for path in root.rglob("*.py") if path.name != "__init__.py"}
    try:
        TopologicalSorter({module: _imported(path) & modules.keys() for module, path in modules.items()}).prepare()
    except CycleError as error:
        return sorted(set(error.args[1]))
    return []


def _module(path: Path) -> str:
    return ".".join(("snapmanage", *path.with_suffix("").parts))


def _imported(path: Path) -> set[str]:
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    packages = {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
    return packages | {name for node in nodes for _, name in _reached(node)}


def _reached(node: ast.AST) -> list[tuple[int, str]]:
    """Return the full names that a node imports, or the global configuration if it reads that, with their lines."""
    match node:
        case ast.Import(names=names, lineno=line):
            return [(line, alias.name) for alias in names]
        case ast.ImportFrom(module=module, names=names, lineno=line):
            return [(line, f"{module}.{alias.name}") for alias in names]
        case ast.Attribute(lineno=line) if ast.unparse(node) == "cfg.CONF":
            return [(line, CONF)]
    return []


def test_no_modules_import_one_another() -> None:
    assert circle(ROOT) == []


def test_circle_of_imports_is_reported(tmp_path: Path) -> None:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "quotas.py").write_text("from snapmanage.core.records import Record\n")
    (tmp_path / "core" / "records.py").write_text("def f():\n    from snapmanage.core import quotas\n")

    assert circle(tmp_path) == ["snapmanage.core.quotas", "snapmanage.core.records"]


def test_imports_point_inwards() -> None:
    assert violations(ROOT) == []


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "snapmanage"])
def test_tests_are_imported_by_no_other_folder(folder: str) -> None:
    trees = {path: ast.parse(path.read_text()) for path in (ROOT.parent / folder).rglob("*.py")}

    assert trees
    assert [
        f"{path}:{line}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        for line, name in _reached(node)
        if name.partition(".")[0] == "tests"
    ] == []


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_every_part_of_the_order_exists(part: str) -> None:
    path = ROOT.joinpath(*part.split("."))

    assert path.is_dir() or path.with_suffix(".py").is_file()


@pytest.mark.parametrize(
    ("module", "line", "wrong"),
    [
        ("errors.py", "from snapmanage.core import quota", "errors must not import core"),
        ("core/quota.py", "from snapmanage.store import records", "core must not import store"),
        ("core/quota.py", "import snapmanage.bus.names", "core must not import bus"),
        ("core/quota.py", "import sqlalchemy", "core must not import sqlalchemy"),
        ("core/quota.py", "def f():\n    from oslo_config import cfg", "core must not import oslo_config"),
        ("store/records.py", "from snapmanage import bus", "store must not import bus"),
        ("bus/rabbit/bus.py", "from snapmanage.drivers.protocol import Driver", "bus must not import drivers"),
        ("manage/requests.py", "from snapmanage.api import views", "manage must not import api"),
        ("api/app.py", "from snapmanage.volume import endpoint", "api must not import volume"),
        ("api/handlers/volumes.py", "from snapmanage.store import records", "api must not import store"),
        ("api/app.py", "from snapmanage.store.engine import database", "api must not import store"),
        ("relay.py", "from snapmanage.audit import Listener", "relay must not import audit"),
        ("volume/worker.py", "from snapmanage import conf", "volume must not import conf"),
        ("api/app.py", "import snapmanage.cmd.wiring.parts", "api must not import cmd.wiring"),
        ("cmd/process/workers.py", "from snapmanage.cmd.wiring import parts", "cmd.process must not import cmd.wiring"),
        ("cmd/wiring/parts.py", "from snapmanage.cmd import volume", "cmd.wiring must not import cmd"),
        ("cmd/wiring/parts.py", "from snapmanage.cmd.manage import main", "cmd.wiring must not import cmd.manage"),
        ("cmd/manage/main.py", "from snapmanage.cmd.api import main", "cmd.manage must not import cmd"),
        ("drivers/lvm/driver.py", "limit = cfg.CONF.limit", "drivers must not touch cfg.CONF"),
        ("drivers/lvm/driver.py", "from oslo_config.cfg import CONF", "drivers must not touch cfg.CONF"),
        ("drivers/fake.py", "from snapmanage.testing.lab import Lab", "drivers must not import testing"),
        ("testing/lab.py", "from snapmanage.cmd import main", "testing must not import cmd"),
        ("helpers.py", "from snapmanage import errors", "helpers has no place in the order of imports"),
    ],
)
def test_import_that_points_outwards_is_reported(tmp_path: Path, module: str, line: str, wrong: str) -> None:
    path = tmp_path / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"import json\n{line}\n")

    (found,) = violations(tmp_path)

    assert found.startswith(f"{module}:")
    assert found.endswith(wrong)
