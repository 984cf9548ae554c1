"""The runner of `make fuzz`, and the check of each input."""

import ast
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import __main__ as runner
from tests.fuzz import hostile, process

REPOSITORY = Path(__file__).parents[3]
QUICK = "test_reference:test_reference_of_a_name_has_exactly_this_name"


def test_undeclared_error_names_the_input() -> None:
    with pytest.raises(KeyError) as raised, hostile.bounded("the input", ValueError):
        raise KeyError

    assert raised.value.__notes__ == ["input: 'the input'"]


def test_declared_error_passes() -> None:
    with hostile.bounded("the input", ValueError):
        raise ValueError


def test_slow_input_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((0.0, hostile.MOST_SECONDS + 1))
    monkeypatch.setattr(time, "thread_time", lambda: next(times))

    with pytest.raises(AssertionError, match="slow: 'the input'"), hostile.bounded("the input"):
        pass


def test_input_that_needs_much_memory_is_a_failure() -> None:
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + 2 * hostile.MOST_MEBIBYTES * 1024**2

    with pytest.raises(AssertionError, match="memory: 'the input'"), hostile.bounded("the input"):
        assert len(b"x" * grown) == grown


def test_every_test_of_the_package_is_a_target() -> None:
    folder = REPOSITORY / "tests" / "fuzz"
    tests = {
        f"{'.'.join(file.relative_to(folder).with_suffix('').parts)}:{node.name}"
        for file in folder.rglob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }

    assert set(runner.find_targets()) == tests


def test_input_of_a_failure_is_kept(tmp_path: Path) -> None:
    def fail(data: bytes) -> None:
        raise KeyError(data)

    with pytest.raises(KeyError):
        process.unguided(fail, 1, tmp_path / "find")

    assert len((tmp_path / "find").read_bytes()) == process.INPUT_BYTES


def test_test_runs_for_the_given_time_and_reports_the_number_of_inputs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz.process", "hypothesis", QUICK, "1", str(tmp_path)]

    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert ended.returncode == 0, ended.stderr
    number, unit = ended.stdout.split()
    assert (int(number) > 0, unit) == (True, "inputs")
