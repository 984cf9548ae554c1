"""An environment variable kills a process at a named crash point."""

import signal
import subprocess
import sys

import pytest

from snapmanage import crash, errors
from snapmanage.crash import VARIABLE, Point

SCRIPT = "import os; from snapmanage import crash; crash.arm(os.environ); [crash.at(p) for p in [*crash.Point] * 2]"


def reach_all_points_twice(switch: str | None) -> int:
    environment = {} if switch is None else {VARIABLE: switch}
    return subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=False).returncode


def test_nothing_happens_without_the_variable() -> None:
    untouched = crash.at

    crash.arm({"SNAPMANAGE": "claimed"})

    assert crash.at is untouched
    assert reach_all_points_twice(None) == 0


@pytest.mark.parametrize("switch", ["claimed", "claimed:1", "release-uncommitted:2"])
def test_process_is_killed_at_the_point(switch: str) -> None:
    assert reach_all_points_twice(switch) == -signal.SIGKILL


def test_process_survives_when_it_reaches_the_point_less_often() -> None:
    assert reach_all_points_twice("claimed:3") == 0


@pytest.mark.parametrize("switch", ["", "claim", "CLAIMED", "claimed:x", "claimed:-1"])
def test_variable_that_names_no_point_is_refused(switch: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=VARIABLE):
        crash.arm({VARIABLE: switch})


def test_each_point_describes_the_steps_before_and_after_it() -> None:
    assert all(point.value and point.label.islower() for point in Point)
