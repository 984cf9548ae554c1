"""QEMU's own tools, as those who make images and run them use them: qemu-img, and qemu-io as a running guest."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.needs import program

PROGRAMS = ("qemu-img", "qemu-io")
# QEMU waits for ever on a fifo that it takes for an image.
SECONDS = 60


def qemu_img(*argv: str | Path) -> str:
    """Run a command of qemu-img; its failure fails the test with what it said."""
    ended = subprocess.run(["qemu-img", *argv], capture_output=True, text=True, check=False, timeout=SECONDS)
    assert ended.returncode == 0, f"qemu-img {argv} ended with {ended.returncode}: {ended.stderr}"
    return ended.stdout


def create(image: Path, size_bytes: int, backing: str | None = None, kind: str = "qcow2", *options: str) -> None:
    """Make a qcow2 image, on top of a backing file in the same folder where one is given."""
    below = ["-b", backing, "-F", kind] if backing else []
    qemu_img("create", "-q", "-f", "qcow2", *below, *options, image, str(size_bytes))


def chain(image: Path) -> list[dict[str, Any]]:
    """What qemu-img tells of the image and of each backing file below it, the image first."""
    told = qemu_img("info", "-U", "--output=json", "--backing-chain", "-f", "qcow2", image)
    images: list[dict[str, Any]] = json.loads(told)
    return images


def qemu_io(image: Path, *commands: str, kind: str = "qcow2") -> str:
    """Read or write the image's data through its whole chain."""
    asked = [part for command in commands for part in ("-c", command)]
    ended = subprocess.run(
        [str(program("qemu-io")), "-f", kind, *asked, image],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert ended.returncode == 0, f"qemu-io ended with {ended.returncode}: {ended.stdout}{ended.stderr}"
    return ended.stdout


@contextmanager
def held_open(image: Path, kind: str = "qcow2", *options: str) -> Iterator[None]:
    """Let a real QEMU have the image open, as a running guest has."""
    argv = [str(program("qemu-io")), "-f", kind, *options, str(image)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        assert qemu.stdin is not None
        assert qemu.stdout is not None
        try:
            qemu.stdin.write(b"length\n")
            qemu.stdin.flush()
            # It answers when it has opened the image, and locked it.
            assert qemu.stdout.readline()
            yield
        finally:
            qemu.stdin.close()
            qemu.wait(20)
