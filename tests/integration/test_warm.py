"""A warm process behaves like a process of `subprocess`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from snapmanage.testing.services import warm
from snapmanage.testing.services.daemon import Daemon
from snapmanage.testing.services.process import processes
from tests.services.client_programs import for_a_shell

REPORT = """\
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
EXIT = "import atexit, sys\natexit.register(print, 'bye')\nprint('wrong', file=sys.stderr)\nsys.exit(3)\n"
SHOW = "import os, sys\nprint(*sys.argv[1:], os.getcwd(), os.environ['WORD'], sys.stdin.read())\nsys.exit(3)\n"
FAIL = "raise ValueError('this one')\n"


@pytest.fixture(params=[subprocess.Popen, warm.Process], ids=["cold", "warm"])
def is_warm(request: pytest.FixtureRequest) -> bool:
    return bool(request.param is warm.Process)


def daemon(folder: Path, text: str, is_warm: bool, environment: Mapping[str, str] | None = None) -> Daemon:
    script = folder / "script.py"
    script.write_text(text)
    return Daemon("script", [sys.executable, str(script)], folder / "log", environment, is_warm)


def test_warm_process_has_the_environment_of_a_cold_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    more = {"SNAPMANAGE_TEST": "grün \udcff"}

    cold, forked = (daemon(tmp_path, REPORT, kind, more).run("an argument", "") for kind in (False, True))

    assert json.loads(forked.stdout) == json.loads(cold.stdout)
    assert (forked.returncode, forked.stderr) == (cold.returncode, cold.stderr) == (0, "")


def test_exit_status_and_both_outputs_are_returned(tmp_path: Path, is_warm: bool) -> None:
    ended = daemon(tmp_path, EXIT, is_warm).run()

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

    assert made.await_exit() == -number
    assert pid not in processes()
    assert not made.alive


def test_process_killed_from_elsewhere_is_not_alive(tmp_path: Path, is_warm: bool) -> None:
    made = daemon(tmp_path, WAIT, is_warm)
    made.start()

    os.kill(made.pid, signal.SIGKILL)

    assert made.next_line() == ""
    assert made.await_exit() == -signal.SIGKILL


def test_wait_has_a_time_limit(tmp_path: Path, is_warm: bool) -> None:
    script = tmp_path / "script.py"
    script.write_text(WAIT)
    kind: Callable[..., subprocess.Popen[str] | warm.Process] = warm.Process if is_warm else subprocess.Popen
    with (tmp_path / "output").open("w") as output:
        process = kind([sys.executable, str(script)], stdout=output, stderr=output, text=True, env=os.environ)

    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)

    process.kill()
    process.wait()


def test_shell_starts_a_warm_program_with_its_arguments_folder_environment_and_files(tmp_path: Path) -> None:
    program = tmp_path / "show"
    program.write_text(SHOW)

    with for_a_shell([program]) as folder:
        script = f"cd /; echo text | WORD=word {folder}/show 'an argument' > {tmp_path}/output; echo $?"
        ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)

    assert (ended.stdout, ended.stderr) == ("3\n", "")
    assert (tmp_path / "output").read_text() == "an argument / word text\n\n"


def test_each_warm_process_is_separate(tmp_path: Path) -> None:
    made = [daemon(tmp_path, WAIT, is_warm=True) for _ in range(3)]
    for each in made:
        each.start()

    made[0].kill()

    assert [each.alive for each in made] == [False, True, True]
    assert len({each.pid for each in made}) == 3
    for each in made:
        each.close()
