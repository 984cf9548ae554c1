"""The limits under which `qemu-img` changes an image."""

import os
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.drivers.qcow2 import qemu_img
from snapmanage.drivers.system import commands

SIZE = 1024**2
PRINT_LIMITS = "#!/bin/sh\nulimit -v >&2\nulimit -f >&2\n"  # in KiB, and in blocks of 512 bytes


def test_qemu_img_gets_a_gibibyte_of_memory_and_may_extend_its_image_by_64_mebibytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "qemu-img"
    fake.write_text(PRINT_LIMITS)
    fake.chmod(0o755)
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "image").write_bytes(b"x" * SIZE)

    with (tmp_path / "image").open("rb") as image, (tmp_path / "lock").open("w") as lock:
        outcome = qemu_img.rebase(image.fileno(), "base", "raw", lock.fileno(), 60)

    assert outcome == f"exit code 0: {1024**3 // 1024} {(SIZE + 64 * 1024**2) // 512}"


def test_output_of_qemu_img_has_at_most_a_mebibyte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "qemu-img"
    monkeypatch.setitem(commands.ENVIRONMENT, "PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    prints(fake, qemu_img.OUTPUT_BYTES)
    qemu_img.check(60)

    prints(fake, qemu_img.OUTPUT_BYTES + 1)
    with pytest.raises(errors.BackendUnavailable, match="printed more than 1048576 bytes"):
        qemu_img.check(60)


def prints(fake: Path, size: int) -> None:
    fake.write_text(f"#!/bin/sh\nexec head -c {size} /dev/zero\n")
    fake.chmod(0o755)
