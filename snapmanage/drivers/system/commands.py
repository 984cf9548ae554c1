"""Commands of storage systems: run without a shell, in a fixed environment, ended at a deadline."""

import subprocess
from collections.abc import Mapping, Sequence

from snapmanage import errors

ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
GRACE_SECONDS = 10

# Exit code, standard output, standard error.
Ended = tuple[int, str, str]


def run(
    argv: Sequence[str],
    package: str,
    deadline_seconds: float,
    more: Mapping[str, str] | None = None,
    kept: Sequence[int] = (),
) -> Ended:
    """Run a command of `package`, with `more` in its environment; `BackendUnavailable` where it can't, or won't end.

    Of what is open here, it has `kept`.

    At its deadline it is asked to end, never made to: what a storage system has begun must not be cut
    off anywhere.
    """
    try:
        process = subprocess.Popen(
            argv,
            env=ENVIRONMENT | dict(more or {}),
            pass_fds=kept,
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
    return process.returncode, output, error


def _communicate(process: subprocess.Popen[str], command: str, deadline_seconds: float) -> tuple[str, str]:
    try:
        return process.communicate(timeout=deadline_seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
    # lvm2 heeds SIGTERM while it waits for a lock, and holds it back while devices are suspended.
    # SIGKILL then would freeze everybody's I/O on them, so a command that won't end is left alone.
    try:
        return process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        raise errors.BackendUnavailable(
            f"{command} didn't end within {deadline_seconds:g} s, nor when asked to: look for a device that hangs"
        ) from None
