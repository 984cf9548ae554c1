"""`qemu-img`, for the one thing that is left to it: to change what an image records of its backing file."""

from snapmanage import errors
from snapmanage.drivers.system import commands

_PACKAGE = "qemu-utils"


def check(deadline_seconds: float) -> None:
    """Return when `qemu-img` can be run; `BackendUnavailable`."""
    commands.run(["qemu-img", "--version"], _PACKAGE, deadline_seconds)


def rebase(image: int, backing: str, backing_format: str, lock: int, deadline_seconds: float) -> str:
    """Record another name of its backing file in the open qcow2 `image`, whose data aren't touched.

    Returns how it ended, for people: look at what the image records by now. The command gets the image
    as we have opened it, whatever its name leads to meanwhile, and keeps `lock` until it ends. The backing
    file isn't opened, so it succeeds for one that doesn't exist. `BackendUnavailable` where the command
    can't be run, or doesn't end.
    """
    # The format is said for each file: none is probed.
    argv = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", backing_format, "-b", backing, f"/proc/self/fd/{image}"]
    code, _, said = commands.run(argv, _PACKAGE, deadline_seconds, inherited_fds=(image, lock))
    if code < 0:
        raise errors.BackendUnavailable(f"qemu-img didn't end within {deadline_seconds:g} s: does the storage answer?")
    return f"exit code {code}: {' '.join(said.split())}"
