"""Run commands of storage systems: without a shell, in a fixed environment, with a deadline."""

import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from snapmanage import errors

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
GRACE_SECONDS = 10


class CompletedCommand(NamedTuple):
    """A command that has ended; a negative exit code is the number of the signal that ended it."""

    exit_code: int
    output: str
    error: str


def run(
    argv: Sequence[str],
    package: str,
    deadline_seconds: float,
    environment: Mapping[str, str] | None = None,
    inherited_fds: Sequence[int] = (),
) -> CompletedCommand:
    """Run a command of `package` until it ends; raise `BackendUnavailable` if it can't be started, or hangs.

    `environment` is added to `ENVIRONMENT`. The command inherits the open files `inherited_fds`.

    At its deadline the command gets SIGTERM and never SIGKILL: a storage system's change must not be cut off
    in the middle.
    """
    try:
        process = subprocess.Popen(
            argv,
            env=ENVIRONMENT | dict(environment or {}),
            pass_fds=inherited_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as failure:
        raise errors.BackendUnavailable(
            f"can't run {argv[0]} ({failure.strerror}): is {package} installed?"
        ) from failure
    output, error = _communicate(process, argv[0], deadline_seconds)
    return CompletedCommand(process.returncode, output, error)


def _communicate(process: subprocess.Popen[str], command: str, deadline_seconds: float) -> tuple[str, str]:
    try:
        return process.communicate(timeout=deadline_seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
    # lvm2 obeys SIGTERM while it waits for a lock, and defers it while devices are suspended. A SIGKILL at that moment
    # would freeze all I/O on those devices, so a command that ignores SIGTERM is left running.
    try:
        return process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        raise errors.BackendUnavailable(
            f"{command} didn't end within {deadline_seconds:g} s and ignores SIGTERM: look for a device that hangs"
        ) from None
