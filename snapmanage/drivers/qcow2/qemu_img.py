"""`qemu-img`, which the driver runs for one purpose only: to change the backing file name of an overlay."""

import os

from snapmanage import errors
from snapmanage.drivers.system import commands
from snapmanage.drivers.system.commands import Limits

_PACKAGE = "qemu-utils"
# qemu-img maps 250 MiB and reads tables of at most 200 MiB, by its own limits, from an image that others wrote.
MEMORY_BYTES = 1024**3
OUTPUT_BYTES = 1024**2
# A repair of the reference counts, which qemu-img begins with a dirty image, may extend it.
GROWTH_BYTES = 64 * 1024**2


def check(timeout_seconds: float) -> None:
    """Return if `qemu-img` can be run; raise `BackendUnavailable` otherwise."""
    limits = Limits(MEMORY_BYTES, 0, OUTPUT_BYTES)
    commands.run(["qemu-img", "--version"], _PACKAGE, timeout_seconds, limits=limits)


def rebase(image: int, backing_file_name: str, backing_format: str, lock: int, timeout_seconds: float) -> str:
    """Record another backing file name in the open qcow2 `image`; its data stay unchanged.

    Return the outcome for a message to an operator. It proves nothing: check the name that the image records now. The
    command gets the image as it was opened, even if its name leads to another file now, and holds `lock` until it ends.
    It doesn't open the backing file, so it succeeds even if that doesn't exist. Raise `BackendUnavailable` if the
    command can't be run or exceeds the time limit.
    """
    # With the format of each file, qemu-img probes none.
    formats = ["-f", "qcow2", "-F", backing_format]
    argv = ["qemu-img", "rebase", "-u", *formats, "-b", backing_file_name, f"/proc/self/fd/{image}"]
    limits = Limits(MEMORY_BYTES, os.fstat(image).st_size + GROWTH_BYTES, OUTPUT_BYTES)
    code, _, output = commands.run(argv, _PACKAGE, timeout_seconds, inherited_fds=(image, lock), limits=limits)
    if code < 0:
        raise errors.BackendUnavailable(
            f"qemu-img did not finish within {timeout_seconds:g} s: check that the storage responds, or raise "
            "command_timeout_seconds"
        )
    return f"exit code {code}: {' '.join(output.split())}"
