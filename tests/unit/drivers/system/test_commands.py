"""Commands end at their limits: memory, processor time, output, size of files, time."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.drivers.system import commands
from snapmanage.drivers.system.commands import CompletedCommand, Limits
from snapmanage.testing.waiting import until

MIB = 1024**2
DEADLINE_SECONDS = 60


def sh(script: str, limits: Limits = Limits(), deadline_seconds: float = DEADLINE_SECONDS) -> CompletedCommand:  # noqa: B008 - frozen
    return commands.run(["sh", "-c", script], "dash", deadline_seconds, limits=limits)


def test_command_gets_its_arguments_and_returns_its_output_and_messages() -> None:
    assert sh("echo out; echo 'wrong ü' >&2; exit 3") == CompletedCommand(3, "out\n", "wrong ü\n")


def test_command_gets_the_limits_of_the_reference_unless_others_are_given() -> None:
    kib, blocks, seconds = sh("ulimit -v; ulimit -f; ulimit -t").output.split()

    assert (int(kib) * 1024, int(blocks) * 512, int(seconds)) == (4 * 1024**3, 1024**3, DEADLINE_SECONDS + 10)
    assert Limits().output_bytes == 256 * MIB


def test_end_of_a_command_is_awaited_without_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.time.sleep", fail_to_sleep)

    assert sh("exec >&- 2>&-; sleep 0.2; exit 3").exit_code == 3


def fail_to_sleep(seconds: float) -> None:
    pytest.fail(f"slept for {seconds} s")


def test_command_ends_where_the_kernel_has_no_descriptors_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pidfd_open", lambda pid: os.open("/absent", os.O_RDONLY))

    assert sh("exec >&- 2>&-; sleep 0.2; exit 3").exit_code == 3
    assert sh("exec >&- 2>&-; exec sleep 60", deadline_seconds=0.2).exit_code == -signal.SIGTERM


def test_command_that_closes_its_output_still_has_its_deadline() -> None:
    assert sh("exec >&- 2>&-; exec sleep 60", deadline_seconds=0.2).exit_code == -signal.SIGTERM


@pytest.mark.parametrize("deadline_seconds", [3e6, 1e300, float("inf")])
def test_deadline_beyond_a_week_counts_as_a_week(deadline_seconds: float) -> None:
    assert sh("ulimit -t", deadline_seconds=deadline_seconds).output == f"{7 * 24 * 3600 + 10}\n"


def test_command_that_eats_memory_fails() -> None:
    eat = f"{sys.executable} -I -S -c 'bytearray({512 * MIB})'"

    assert sh(eat, Limits(memory_bytes=1024 * MIB)).exit_code == 0
    assert "MemoryError" in sh(eat, Limits(memory_bytes=256 * MIB)).error


def test_command_that_eats_processor_time_is_ended_even_without_snapmanage() -> None:
    argv = commands.limited(["sh", "-c", "while :; do :; done"], Limits(), cpu_seconds=1)

    ended = subprocess.run(argv, check=False, timeout=DEADLINE_SECONDS)

    assert ended.returncode == -signal.SIGXCPU


def test_file_beyond_the_limit_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "file"

    ended = sh(f"head -c {2 * MIB} /dev/zero > {file}; :", Limits(file_bytes=MIB))

    assert file.stat().st_size == MIB
    assert sh(f"head -c {MIB} /dev/zero > {file}", Limits(file_bytes=MIB)).exit_code == 0
    assert ended.exit_code == 0


def test_command_that_only_reads_may_write_no_file(tmp_path: Path) -> None:
    sh(f"echo text > {tmp_path}/file; :", Limits(file_bytes=0))

    assert not (tmp_path / "file").read_text()


def test_output_up_to_the_limit_is_returned() -> None:
    assert len(sh(f"head -c {MIB} /dev/zero", Limits(output_bytes=MIB)).output) == MIB


@pytest.mark.parametrize("script", ["exec yes", "exec yes >&2", f"head -c {MIB + 1} /dev/zero"])
def test_command_that_prints_more_than_the_limit_is_ended(script: str) -> None:
    with pytest.raises(errors.BackendUnavailable, match=f"printed more than {MIB} bytes"):
        sh(script, Limits(output_bytes=MIB))


def test_command_that_hangs_is_ended_at_its_deadline() -> None:
    assert sh("exec sleep 1000", deadline_seconds=0.2).exit_code == -signal.SIGTERM
    assert sh("exec sleep 1000 >&- 2>&-", deadline_seconds=0.2).exit_code == -signal.SIGTERM


def test_command_that_ignores_sigterm_is_left_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands, "GRACE_SECONDS", 0.2)
    hanging = f"trap '' TERM; while [ ! -e {tmp_path}/over ]; do echo waiting; sleep 0.1; done; touch {tmp_path}/done"

    with pytest.raises(errors.BackendUnavailable, match="ignores SIGTERM"):
        sh(hanging, deadline_seconds=0.2)

    (tmp_path / "over").touch()
    until((tmp_path / "done").exists, "the command to do its work")
    until(lambda: all(each.name != "end of sh" for each in threading.enumerate()), "the command to be reaped")


def test_no_command_is_started_while_many_earlier_ones_hang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(commands, "MOST_OUTLASTING", 2)
    hanging = f"trap '' TERM; while [ ! -e {tmp_path}/over ]; do sleep 0.1; done"
    for _ in range(2):
        with pytest.raises(errors.BackendUnavailable, match="ignores SIGTERM"):
            sh(hanging, deadline_seconds=0.1)

    with pytest.raises(errors.BackendUnavailable, match="2 earlier commands have not ended"):
        sh("true")
    assert commands.run(["true"], "coreutils", DEADLINE_SECONDS, storage="another").exit_code == 0

    (tmp_path / "over").touch()
    until(lambda: all(each.name != "end of sh" for each in threading.enumerate()), "the commands to be reaped")
    assert sh("true").exit_code == 0


def test_grandchild_that_keeps_the_output_open_counts_as_a_hanging_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(commands, "MOST_OUTLASTING", 1)
    with pytest.raises(errors.BackendUnavailable, match="didn't end"):
        sh(f"(while [ ! -e {tmp_path}/over ]; do sleep 0.1; done) & exit 0", deadline_seconds=0.1)

    with pytest.raises(errors.BackendUnavailable, match="was not started"):
        sh("true")

    (tmp_path / "over").touch()
    until(lambda: all(each.name != "end of sh" for each in threading.enumerate()), "the output to end")


def test_command_has_a_process_group_of_its_own() -> None:
    ended = commands.run([sys.executable, "-ISc", "import os; print(os.getpgrp(), os.getpid())"], "", DEADLINE_SECONDS)

    group, process = map(int, ended.output.split())
    assert group == process != os.getpgrp()


def test_command_leaves_no_core() -> None:
    assert sh("ulimit -c; ulimit -Hc").output == "0\n0\n"


def test_missing_program_is_an_error_that_names_its_package() -> None:
    with pytest.raises(errors.BackendUnavailable, match=r"can't run no-such-program .*: is some-package installed"):
        commands.run(["no-such-program"], "some-package", DEADLINE_SECONDS)
