"""A driver in a package of its own, as its author and its operator use it; the package is in `examples`."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from snapmanage_driver_array.lab import TABLES

SOURCE = Path(__file__).parents[2] / "examples" / "snapmanage-driver-array"
PACKAGE = "snapmanage_driver_array"
LAB = f"{PACKAGE}.lab:ArrayLab"
MANAGED_LAB = f"""
from contextlib import contextmanager
from pathlib import Path

from {PACKAGE}.lab import ArrayLab


class ManagedLab(ArrayLab):
    def __enter__(self):
        return self

    def __exit__(self, *error):
        Path("closed").touch()
"""


@dataclass(frozen=True)
class Installation:
    """An installed package in the folder `site`, and a folder outside this repository to work in."""

    site: Path
    work: Path

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment = inherited | {"PYTHONPATH": str(self.site)}
        return subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True)

    def pytest(self, lab: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run(
            sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rf", "--snapmanage-lab", lab, *arguments
        )

    def edit(self, module: str, old: str, new: str) -> None:
        path = self.site / PACKAGE / module
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """Install the package as pip would, which would need the network for the package's build system."""
    made = Installation(tmp_path / "site", tmp_path / "work")
    made.work.mkdir()
    shutil.copytree(SOURCE / PACKAGE, made.site / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    metadata = made.site / f"{PACKAGE}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (metadata / "entry_points.txt").write_text(
        "\n".join(
            line
            for group, entries in project["entry-points"].items()
            for line in (f"[{group}]", *(f"{name} = {target}" for name, target in entries.items()))
        )
    )
    return made


def outcome(summary: str, word: str) -> int:
    """Return the number before a word in the last line of pytest."""
    words = summary.splitlines()[-1].replace(",", "").split()
    return int(words[words.index(word) - 1])


def test_author_runs_the_suite_and_sees_what_the_laboratory_lacks(installation: Installation) -> None:
    ended = installation.pytest(LAB)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert outcome(ended.stdout, "passed") >= 30
    assert outcome(ended.stdout, "deselected") == 3
    assert "skipped" not in ended.stdout
    assert f"snapmanage: the laboratory {LAB} lacks reports_storage_id, add_unusable; tests that" in ended.stdout


def test_broken_driver_fails_with_the_values_that_differ(installation: Installation) -> None:
    installation.edit("driver.py", "renaming.unmanage(self, binding)", "pass")

    ended = installation.pytest(LAB)

    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert outcome(ended.stdout, "passed") >= 20
    assert "test_unmanaging_restores_the_old_name_and_repeating_it_changes_nothing" in ended.stdout
    assert "At index 0 diff: BackendSnapshot(name='snapshot-" in ended.stdout


def test_authors_own_tests_use_the_laboratory_beside_the_suite(installation: Installation) -> None:
    (installation.work / "test_own.py").write_text("def test_own(lab):\n    assert lab.names() == set()\n")

    together = installation.pytest(LAB)
    alone = installation.pytest(LAB, "test_own.py")

    assert outcome(together.stdout, "passed") > 30
    assert outcome(alone.stdout, "passed") == 1


def test_laboratory_that_is_a_context_manager_is_closed(installation: Installation) -> None:
    (installation.site / "managed_lab.py").write_text(MANAGED_LAB)

    ended = installation.pytest("managed_lab:ManagedLab", "--pyargs", "snapmanage.testing.contract.test_large")

    assert outcome(ended.stdout, "passed") == 1
    assert (installation.work / "closed").exists()


def test_wrong_option_is_one_line_without_a_traceback(installation: Installation) -> None:
    ended = installation.pytest("no_such_package.lab:MyLab")

    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --snapmanage-lab=no_such_package.lab:MyLab: can't import no_such_package.lab" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_operator_configures_the_installed_driver_by_its_name(installation: Installation) -> None:
    with closing(sqlite3.connect(installation.work / "array.sqlite")) as array:
        array.executescript(TABLES)
    configured(installation, ["array_path = array.sqlite"])

    ended = managed(installation, "reconcile")

    agreement = "The records of storage-1@fast agree with their backends.\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", agreement)


def test_wrong_option_of_the_installed_driver_is_refused_by_name(installation: Installation) -> None:
    configured(installation, ["array_path = array.sqlite", "array_timeout_seconds = soon"])

    ended = managed(installation, "reconcile")

    assert ended.returncode == 1
    assert "array_timeout_seconds" in ended.stderr


def configured(installation: Installation, options: Sequence[str]) -> None:
    lines = ("[DEFAULT]", "host = storage-1", "enabled_backends = fast", "[database]", "connection = sqlite:///db")
    text = "\n".join((*lines, "[fast]", "driver = array", *options, ""))
    (installation.work / "snapmanage.conf").write_text(text)
    assert managed(installation, "db", "sync").returncode == 0


def managed(installation: Installation, *arguments: str) -> "subprocess.CompletedProcess[str]":
    program = str(Path(sys.executable).with_name("snapmanage-manage"))
    return installation.run(program, "--config-file", "snapmanage.conf", *arguments)
