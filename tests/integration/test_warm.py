"""A warm process behaves like a process of `subprocess`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from snapmanage.testing.services import warm
from snapmanage.testing.services.deployment import Daemon
from snapmanage.testing.services.process import processes

TELL = """\
import json, os, sys
known = {
    "argv": sys.argv,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "main": __name__,
    "path": sys.path[0],
    "files": sorted(os.listdir("/proc/self/fd"))[:3],
    "group": os.getpgrp(),
    "session": os.getsid(0),
    "input": os.readlink("/proc/self/fd/0"),
    "signals": [line for line in open("/proc/self/status") if line.startswith(("SigBlk", "SigIgn"))],
}
print(json.dumps(known), flush=True)
"""
WAIT = "import sys, time\nprint('ready', flush=True)\ntime.sleep(600)\n"
LEAVE = "import atexit, sys\natexit.register(print, 'bye')\nprint('wrong', file=sys.stderr)\nsys.exit(3)\n"
FAIL = "raise ValueError('this one')\n"


@pytest.fixture(params=[subprocess.Popen, warm.Process], ids=["cold", "warm"])
def is_warm(request: pytest.FixtureRequest) -> bool:
    return bool(request.param is warm.Process)


def daemon(folder: Path, text: str, is_warm: bool, environment: Mapping[str, str] | None = None) -> Daemon:
    script = folder / "script.py"
    script.write_text(text)
    return Daemon("script", [sys.executable, str(script)], folder / "log", environment, is_warm)


def test_warm_process_has_the_surroundings_of_a_cold_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    more = {"SNAPMANAGE_TEST": "grün \udcff"}

    cold, its = (daemon(tmp_path, TELL, kind, more).run("an argument", "") for kind in (False, True))

    assert json.loads(its.stdout) == json.loads(cold.stdout)
    assert (its.returncode, its.stderr) == (cold.returncode, cold.stderr) == (0, "")


def test_exit_status_and_both_outputs_are_returned(tmp_path: Path, is_warm: bool) -> None:
    ended = daemon(tmp_path, LEAVE, is_warm).run()

    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "bye\n", "wrong\n")


def test_failure_prints_its_traceback(tmp_path: Path, is_warm: bool) -> None:
    ended = daemon(tmp_path, FAIL, is_warm).run()

    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, "ValueError: this one")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_exit_status_of_a_killed_process_names_the_signal(
    tmp_path: Path, is_warm: bool, number: signal.Signals
) -> None:
    made = daemon(tmp_path, WAIT, is_warm)
    made.start()
    pid = made.pid
    assert made.alive

    made.send(number)

    assert made.ended() == -number
    assert pid not in processes()
    assert not made.alive


def test_process_killed_from_elsewhere_is_not_alive(tmp_path: Path, is_warm: bool) -> None:
    made = daemon(tmp_path, WAIT, is_warm)
    made.start()

    os.kill(made.pid, signal.SIGKILL)

    assert made.said() == ""
    assert made.ended() == -signal.SIGKILL


def test_wait_has_a_limit(tmp_path: Path, is_warm: bool) -> None:
    made = daemon(tmp_path, WAIT, is_warm)
    made.start()
    assert made._process is not None

    with pytest.raises(subprocess.TimeoutExpired):
        made._process.wait(0.05)

    made.close()


def test_every_process_is_one_of_its_own(tmp_path: Path) -> None:
    made = [daemon(tmp_path, WAIT, is_warm=True) for _ in range(3)]
    for each in made:
        each.start()

    made[0].kill()

    assert [each.alive for each in made] == [False, True, True]
    assert len({each.pid for each in made}) == 3
    for each in made:
        each.close()
