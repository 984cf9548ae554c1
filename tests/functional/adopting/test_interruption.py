"""Ctrl-C ends a command at any moment, without a traceback."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from snapmanage.testing.waiting import until
from tests.functional.adopting.shell import Shell
from tests.functional.cmd.programs import run

NOTHING = "interrupted; nothing was started\n"


@pytest.mark.parametrize("module", ["oslo_service", "cotyledon", "sqlalchemy", "cliff", "openstack"])
def test_command_is_interrupted_during_its_imports(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")

    ended = run("snapmanage", "apply", "plan.jsonl", is_warm=False, PYTHONPATH=str(tmp_path))

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", NOTHING)


@pytest.mark.parametrize("command", ["apply", "undo", "show"])
def test_command_is_interrupted_before_its_first_request(shell: Shell, command: str) -> None:
    pipe = shell.folder / "plan.jsonl"
    os.mkfifo(pipe)
    process = shell.daemon(command, str(pipe))
    process.log = shell.folder / "log"
    process.launch()
    writer = until(lambda: opened(pipe), "the command to read the plan")

    process.send(signal.SIGINT)

    assert process.await_exit() == 130
    assert process.log.read_text() == NOTHING
    assert writer is not None
    os.close(writer)


def opened(pipe: Path) -> int | None:
    """Return a descriptor for writing into a pipe; None while no process reads it."""
    with suppress(OSError):
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    return None
