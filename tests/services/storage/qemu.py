"""QEMU's own tools: qemu-img makes and changes images, and qemu-io stands in for a running guest."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from snapmanage.testing.needs import program

PROGRAMS = ("qemu-img", "qemu-io")
# Without a time limit, QEMU waits forever on a fifo that it takes for an image.
TIMEOUT_SECONDS = 60
# For a new LUKS image, QEMU measures the processor time of a key, and gives up if it reads the same time twice.
TOO_COARSE = "Unable to get accurate CPU usage"
TRIES = 20


def qemu_img(*argv: str | Path) -> str:
    """Run a command of qemu-img and return its output; a failure fails the test with the error output."""
    for _ in range(TRIES):
        completed = subprocess.run(
            ["qemu-img", *argv], capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )
        if TOO_COARSE not in completed.stderr:
            break
    assert completed.returncode == 0, f"qemu-img {argv} ended with {completed.returncode}: {completed.stderr}"
    return completed.stdout


def create(image: Path, size_bytes: int, backing: str | None = None, kind: str = "qcow2", *options: str) -> None:
    """Make a qcow2 image, optionally above a backing file in the same folder."""
    below = ["-b", backing, "-F", kind] if backing else []
    qemu_img("create", "-q", "-f", "qcow2", *below, *options, image, str(size_bytes))


def chain(image: Path) -> list[dict[str, Any]]:
    """Return qemu-img's description of the image and of each backing file below it, from top to bottom."""
    output = qemu_img("info", "-U", "--output=json", "--backing-chain", "-f", "qcow2", image)
    images: list[dict[str, Any]] = json.loads(output)
    return images


def qemu_io(image: Path, *commands: str, kind: str = "qcow2") -> str:
    """Read or write the data of the image through its whole chain, and return the output."""
    arguments = [part for command in commands for part in ("-c", command)]
    completed = subprocess.run(
        [str(program("qemu-io")), "-f", kind, *arguments, image],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    assert completed.returncode == 0, f"qemu-io ended with {completed.returncode}: {completed.stdout}{completed.stderr}"
    return completed.stdout


@contextmanager
def held_open(image: Path, kind: str = "qcow2", *options: str) -> Iterator[None]:
    """Keep the image open in a real QEMU, like a running guest."""
    argv = [str(program("qemu-io")), "-f", kind, *options, str(image)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        assert qemu.stdin is not None
        assert qemu.stdout is not None
        try:
            qemu.stdin.write(b"length\n")
            qemu.stdin.flush()
            # QEMU responds after it has opened and locked the image.
            assert qemu.stdout.readline()
            yield
        finally:
            qemu.stdin.close()
            qemu.wait(20)
