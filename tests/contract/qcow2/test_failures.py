"""A rename whose step fails, or that another file blocks, leaves the directory as it was."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from snapmanage import errors
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.drivers.qcow2.image import HIDDEN_PREFIX
from snapmanage.drivers.system import commands
from tests.contract.qcow2.chain import FILES, NEW, OLD, SIZE, Chain
from tests.services.storage import qemu

# The offset in a qcow2 header.
CRYPT_METHOD_OFFSET = 32


def test_hanging_qemu_img_is_ended_and_the_rename_is_undone(chain: Chain, tmp_path: Path) -> None:
    binding = chain.binding()
    fake = tmp_path / "bin" / "qemu-img"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec sleep 1000\n")
    fake.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(commands.ENVIRONMENT, "PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
        impatient_driver = Qcow2Driver(str(chain.folder), command_timeout_seconds=0.2)

        with pytest.raises(errors.BackendUnavailable, match="did not finish within"):
            impatient_driver.manage_snapshot(binding)

    chain.check_unmanaged()


def test_missing_qemu_img_is_an_error_with_the_remedy(chain: Chain, tmp_path: Path) -> None:
    binding = chain.binding()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(commands.ENVIRONMENT, "PATH", str(tmp_path))

        with pytest.raises(errors.BackendUnavailable, match="is qemu-utils installed"):
            chain.driver.check()
        with pytest.raises(errors.BackendUnavailable, match="is qemu-utils installed"):
            chain.driver.manage_snapshot(binding)

    chain.check_unmanaged()


def test_rename_fails_if_qemu_img_reports_success_but_changes_nothing(chain: Chain, tmp_path: Path) -> None:
    binding = chain.binding()
    fake = tmp_path / "bin" / "qemu-img"
    fake.parent.mkdir()
    fake.symlink_to("/bin/true")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(commands.ENVIRONMENT, "PATH", str(fake.parent))

        with pytest.raises(errors.BackendError, match="couldn't change"):
            chain.driver.manage_snapshot(binding)

    chain.check_unmanaged()


def test_overlay_whose_name_matches_no_pattern_blocks_the_rename(chain: Chain) -> None:
    qemu.create(chain.folder / "vm.snap1", SIZE, OLD)

    with pytest.raises(errors.Unusable, match=r"'vm\.snap1' records it.*image_patterns"):
        chain.driver.manage_snapshot(chain.binding())

    assert chain.names() == {*FILES, "vm.snap1"}


def test_unreadable_image_that_may_be_an_overlay_blocks_every_rename(chain: Chain) -> None:
    (chain.folder / "odd.qcow2").write_bytes(b"QFI\xfb" + bytes(100))

    with pytest.raises(errors.Unusable, match=r"'odd\.qcow2' can't be read"):
        chain.driver.manage_snapshot(chain.binding())

    assert chain.names() == {*FILES, "odd.qcow2"}


@pytest.mark.parametrize("data", [b"QFI\xfb" + bytes(100), b"", b"anything"])
def test_data_of_files_that_are_no_images_block_nothing(chain: Chain, data: bytes) -> None:
    """A guest can write anything into a raw disk."""
    (chain.folder / "guest.img").write_bytes(data)

    chain.driver.manage_snapshot(chain.binding())

    assert NEW in chain.names()


@pytest.mark.parametrize("name", ["private.qcow2", "private.img"])
def test_file_that_snapmanage_may_not_read_blocks_every_rename(chain: Chain, name: str) -> None:
    (chain.folder / name).write_bytes(b"secret")
    binding = chain.binding()
    real = os.open

    def open_or_refuse(path: Any, *arguments: Any, **named: Any) -> int:
        if path == name:
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        # Root may read every file, so a replaced `os.open` refuses this one.
        patch.setattr(os, "open", open_or_refuse)
        with pytest.raises(errors.Unusable, match="no permission to read it"):
            chain.driver.manage_snapshot(binding)

    assert chain.names() == {*FILES, name}


def test_file_system_without_hard_links_is_an_error_with_the_remedy(chain: Chain) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    binding = chain.binding()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "link", refuse)
        with pytest.raises(errors.BackendPermission, match="hard links"):
            chain.driver.manage_snapshot(binding)

    chain.check_unmanaged()


def test_overlay_that_qemu_img_cannot_open_blocks_the_rename(chain: Chain) -> None:
    binding = chain.binding()
    with (chain.folder / "disk.qcow2").open("r+b") as image:
        image.seek(CRYPT_METHOD_OFFSET)
        image.write((2).to_bytes(4))

    with pytest.raises(errors.Unusable, match=r"overlay 'disk\.qcow2'.*encrypted"):
        chain.driver.manage_snapshot(binding)

    assert chain.names() == FILES


def test_file_with_the_hidden_name_is_never_replaced(chain: Chain) -> None:
    """Both the hidden name and the old name belong to other files."""
    binding = chain.binding()
    hidden_file = chain.folder / f"{HIDDEN_PREFIX}{OLD}"
    hidden_file.write_bytes(b"precious")

    with pytest.raises(errors.Unusable, match="in the way"):
        chain.driver.manage_snapshot(binding)

    assert hidden_file.read_bytes() == b"precious"
    hidden_file.unlink()
    chain.check_unmanaged()


@pytest.mark.parametrize("name", ["", "x"])
def test_hidden_name_that_can_not_be_restored_stops_no_rename_of_others(name: str, chain: Chain) -> None:
    planted = chain.folder / f"{HIDDEN_PREFIX}{name}"
    planted.mkdir()

    chain.driver.manage_snapshot(chain.binding())

    planted.rmdir()
    chain.check_managed()


def test_hidden_name_of_the_snapshot_that_can_not_be_restored_is_an_error(chain: Chain) -> None:
    binding = chain.binding()
    (chain.folder / OLD).unlink()
    (chain.folder / f"{HIDDEN_PREFIX}{OLD}").mkdir()

    with pytest.raises(errors.BackendPermission, match=HIDDEN_PREFIX):
        chain.driver.manage_snapshot(binding)


def test_snapshot_opened_for_reading_is_in_use(chain: Chain) -> None:
    with (
        qemu.held_open(chain.folder / OLD, "qcow2", "-r"),
        pytest.raises(errors.InUse, match="holds a lock on the file"),
    ):
        chain.driver.manage_snapshot(chain.binding())


def test_scan_blocks_no_guest_from_starting(chain: Chain) -> None:
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            chain.driver.list_snapshots()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(5):
            qemu.qemu_io(chain.folder / "disk.qcow2", "write 0 512")
    finally:
        done.set()
        looking.join()
