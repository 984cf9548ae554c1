"""Several test processes run the test files in a set order."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import order

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "tests"

TWO_FILES = {"test_a.py": "def test_it():\n    pass\n", "test_b.py": "def test_it():\n    pass\n"}


def test_longest_files_exist() -> None:
    assert [name for name in order.LONGEST if not (FOLDER / name).is_file()] == []


def test_every_tier_has_a_place_in_the_order() -> None:
    assert {file.relative_to(FOLDER).parts[0] for file in FOLDER.rglob("test_*.py")} == set(order.TIERS)


def test_longest_files_come_first_and_unit_tests_last() -> None:
    files = sorted(FOLDER.glob("*/test_*.py"), key=order.rank)

    names = [str(file.relative_to(FOLDER)) for file in files]
    assert names[: len(order.LONGEST)] == list(order.LONGEST)
    assert files[-1].parent.name == "unit"


def test_run_with_two_tests_of_one_id_is_refused() -> None:
    items: list[Any] = [SimpleNamespace(nodeid=test_id) for test_id in ("test_a", "test_b", "test_a")]

    with pytest.raises(pytest.UsageError, match=r"same id: test_a$"):
        order.refuse_repeated_ids(items)
    order.refuse_repeated_ids(items[:2])


def test_crashed_process_ends_a_run_of_make_test(tmp_path: Path) -> None:
    [processes] = re.findall("^PROCESSES = (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    crash = "import os\ndef test_crash():\n    os._exit(1)\ndef test_after():\n    pass\n"
    passing = "def test_first():\n    pass\ndef test_second():\n    pass\n"
    for name, text in {"a": passing, "b": crash, "c": passing, "d": passing}.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    options = processes.replace("$(TESTERS)", "2").split()

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 1
    assert "crashed while running 'test_b.py::test_crash'" in ended.stdout


def test_processes_run_files_outside_the_tiers_in_the_order_of_collection(tmp_path: Path) -> None:
    for name, text in TWO_FILES.items():
        (tmp_path / name).write_text(text)
    several = ["-n", "1", "--dist", "loadfile", "--no-loadscope-reorder"]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "xdist",
        "-p",
        "tests.order",
        "-p",
        "no:cacheprovider",
        *several,
    ]

    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.index("PASSED test_a.py") < ended.stdout.index("PASSED test_b.py")
