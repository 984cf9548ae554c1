"""The laboratory that `--snapmanage-lab` names, and the tests of the contract suite that it can run."""

import inspect
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from snapmanage.testing.lab import CAPABILITIES, REQUIRED, Lab, has

OPTION = "--snapmanage-lab"
MARKS = (
    "lab_needs(*capabilities): the test runs on laboratories with these capabilities only",
    "no_kernel: the test doesn't depend on a kernel, so snapmanage's own guest for LVM skips it",
    "active: snapmanage's own guest for LVM runs the test on active snapshots only",
)


def needed(item: pytest.Item) -> tuple[str, ...]:
    """Return the capabilities that a test needs of its laboratory."""
    return tuple(capability for mark in item.iter_markers("lab_needs") for capability in mark.args)


@dataclass(frozen=True)
class Selection:
    """The part of the plugin that works with a laboratory: the fixture `lab`, and the tests that it can run."""

    name: str
    kind: type[Any]

    @classmethod
    def of(cls, config: pytest.Config, name: str) -> "Selection":
        for mark in MARKS:
            config.addinivalue_line("markers", mark)
        return cls(name, load(name))

    @pytest.fixture
    def lab(self, tmp_path: Path) -> Iterator[Lab]:
        """Return a new laboratory."""
        made = self.kind(tmp_path) if inspect.signature(self.kind).parameters else self.kind()
        with made if isinstance(made, AbstractContextManager) else nullcontext(made) as lab:
            yield lab

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        lacking = [item for item in items if not all(has(self.kind, each) for each in needed(item))]
        if lacking:
            config.hook.pytest_deselected(items=lacking)
            items[:] = [item for item in items if item not in lacking]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if lacking := [each for each in CAPABILITIES if not has(self.kind, each)]:
            terminalreporter.line(
                f"snapmanage: the laboratory {self.name} lacks {', '.join(lacking)}; tests that need them did not run"
            )


def load(name: str) -> type[Any]:
    """Return the class that the option names; raise `pytest.UsageError` if it can't be a laboratory."""
    module_name, _, class_name = name.partition(":")
    if not (module_name and class_name.isidentifier()):
        raise pytest.UsageError(f"{OPTION}={name}: expected MODULE:CLASS, such as my_package.lab:MyLab")
    if module_name not in sys.modules:
        pytest.register_assert_rewrite(module_name)
    try:
        module = import_module(module_name)
    except ImportError as failure:
        raise pytest.UsageError(
            f"{OPTION}={name}: can't import {module_name}: {failure}; install its package into the environment of "
            "pytest, for example with 'pip install --editable .'"
        ) from failure
    kind = getattr(module, class_name, None)
    if not inspect.isclass(kind):
        raise pytest.UsageError(
            f"{OPTION}={name}: {module_name} has no class {class_name}; define it or correct its name"
        )
    _check_form(name, kind)
    return kind


def _check_form(name: str, kind: type[Any]) -> None:
    try:
        inspect.signature(kind).bind(*[Path()] * bool(inspect.signature(kind).parameters))
    except TypeError as failure:
        raise pytest.UsageError(
            f"{OPTION}={name}: the constructor must take no argument, or one, a folder of the test: {failure}"
        ) from failure
    if lacking := [member for member in REQUIRED if not hasattr(kind, member)]:
        raise pytest.UsageError(
            f"{OPTION}={name}: the class lacks {', '.join(lacking)}; add the members of snapmanage.testing.lab.Lab"
        )
