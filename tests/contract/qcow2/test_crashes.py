"""A worker is killed or frozen in a rename: every chain stays complete, and the next operation finishes the rename."""

import itertools
import os
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from snapmanage import errors
from snapmanage.core.reference import Reference
from snapmanage.drivers.qcow2 import qemu_img
from snapmanage.drivers.qcow2.directory import LOCK
from snapmanage.drivers.qcow2.driver import Qcow2Driver
from snapmanage.drivers.system import commands, syscalls
from snapmanage.testing.waiting import until
from tests.contract.qcow2.chain import NEW, Chain, before_each_step, kill_before


@pytest.mark.parametrize("then", ["manage", "unmanage"])
@pytest.mark.parametrize("first", ["manage", "unmanage"])
def test_worker_killed_at_any_step_leaves_complete_chains_and_the_next_operation_finishes(
    chain: Chain, first: str, then: str
) -> None:
    binding = chain.binding()
    operations = {"manage": chain.driver.manage_snapshot, "unmanage": chain.driver.unmanage_snapshot}
    checks = {"manage": chain.check_managed, "unmanage": chain.check_unmanaged}
    for step in itertools.count():
        if first == "unmanage":
            chain.driver.manage_snapshot(binding)
        if not kill_before(operations[first], binding, step):
            break
        chain.check_data()

        operations[then](binding)

        checks[then]()
        chain.driver.unmanage_snapshot(binding)
        chain.check_unmanaged()
    # Link and sync the directory; rebase and sync both overlays; hide and remove the old name, sync the directory.
    assert step == 9
    checks[first]()


def test_listing_and_volume_stay_the_same_between_a_crash_and_the_next_operation(chain: Chain) -> None:
    binding = chain.binding()
    for step in range(9):
        assert kill_before(chain.driver.manage_snapshot, binding, step)

        listed = chain.driver.list_snapshots()

        assert {(each.identity, each.unsafe) for each in listed} >= {(binding.identity, None)}
        assert len(listed) == 2
        assert chain.driver.find_volume(Reference.named("disk.qcow2"))
        chain.driver.unmanage_snapshot(binding)


def test_qemu_img_that_outlives_its_worker_keeps_the_lock(chain: Chain, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    fake = tmp_path / "bin" / "qemu-img"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\nread line < {gate}\n")
    fake.chmod(0o755)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setitem(commands.ENVIRONMENT, "PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
        lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
        assert syscalls.try_lock(lock)
        worker = threading.Thread(target=qemu_img.rebase, args=(lock, NEW, "qcow2", lock, 20))
        worker.start()
        with gate.open("w") as opened:
            # The command has started, because it has opened the gate too. Closing the lock simulates a dead worker.
            os.close(lock)
            another = os.open(tmp_path / "lock", os.O_RDWR)
            assert not syscalls.try_lock(another)
            opened.write("go on\n")
        until(lambda: syscalls.try_lock(another), "the command to end and to release its lock")
        worker.join()
        os.close(another)


def test_worker_gives_up_with_a_retryable_error_if_another_worker_is_frozen(chain: Chain) -> None:
    binding = chain.binding()
    impatient_driver = Qcow2Driver(str(chain.folder), command_timeout_seconds=0.1)
    fd = os.open(chain.folder / LOCK, os.O_RDWR)
    assert syscalls.try_lock(fd)

    with pytest.raises(errors.BackendBusy, match="lock"):
        impatient_driver.manage_snapshot(binding)

    os.close(fd)
    chain.driver.manage_snapshot(binding)
    chain.check_managed()


def test_lock_counts_only_while_the_lock_file_has_its_name(chain: Chain) -> None:
    """Another process removes the lock file after the worker has opened it and before it locks it."""
    real = syscalls.try_lock
    locked_fds: list[int] = []

    def lock_after_removal(fd: int) -> bool:
        if not locked_fds:
            (chain.folder / LOCK).unlink()
        locked_fds.append(fd)
        return real(fd)

    binding = chain.binding()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syscalls, "try_lock", lock_after_removal)
        chain.driver.manage_snapshot(binding)

    assert len(locked_fds) == 2
    chain.check_managed()


@pytest.mark.parametrize("step", range(1, 9))
def test_steps_of_a_killed_worker_are_written_to_disk_before_another_step_relies_on_them(
    chain: Chain, step: int
) -> None:
    binding, steps = chain.binding(), list[str]()
    assert kill_before(chain.driver.manage_snapshot, binding, step)

    with before_each_step(steps.append):
        chain.driver.manage_snapshot(binding)

    assert next(each for each in steps if each != "unlink") == "fsync"
