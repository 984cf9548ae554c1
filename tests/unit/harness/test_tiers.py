"""Skipped tests are listed on a developer's machine, and fail the run in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]

ONE_SKIPPED = """
import pytest

def test_that_runs():
    pass

def test_that_needs_a_floppy():
    pytest.skip("this machine lacks: floppy")
"""

ALL_RUN = """
def test_that_runs():
    pass
"""


def run_pytest(folder: Path, tests: str, ci: bool) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(tests)
    few_plugins = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # other plugins take longer than the tests
    environment = os.environ | few_plugins | {"PYTHONPATH": str(REPOSITORY), "CI": str(ci).lower()}
    command = [sys.executable, "-m", "pytest", "-p", "tests.tiers", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_skip_fails_the_run_in_ci_and_is_named(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, ONE_SKIPPED, ci=True)

    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "SKIPPED, WHICH FAILS A RUN IN CI" in result.stdout
    assert "test_it.py::test_that_needs_a_floppy" in result.stdout


def test_skip_is_listed_with_its_reason_outside_ci(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, ONE_SKIPPED, ci=False)

    assert result.returncode == pytest.ExitCode.OK
    assert "NOT RUN ON THIS MACHINE" in result.stdout
    assert "1 skipped: this machine lacks: floppy" in result.stdout


@pytest.mark.parametrize("ci", [True, False])
def test_nothing_is_listed_if_all_tests_ran(tmp_path: Path, ci: bool) -> None:
    result = run_pytest(tmp_path, ALL_RUN, ci)

    assert result.returncode == pytest.ExitCode.OK
    assert "!" not in result.stdout


def test_counts_are_the_last_line_of_the_output(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, ONE_SKIPPED, ci=True)

    assert "1 passed, 1 skipped" in result.stdout.splitlines()[-1]


def test_test_belongs_to_the_tier_of_its_folder(request: pytest.FixtureRequest) -> None:
    assert [mark.name for mark in request.node.iter_markers()] == ["unit"]
