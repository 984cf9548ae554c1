"""Privileged commands in the helper: they have the same results, and its failures are retried.

Here the client is root, which needs no sudo; `test_sudo` has a client without root.
"""

import fcntl
import gc
import os
import shlex
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from oslo_config import cfg

from snapmanage import errors
from snapmanage.cmd.privileged import THREADS
from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.lvm import privileged
from snapmanage.drivers.lvm.driver import LvmDriver
from snapmanage.drivers.system import privsep
from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import MetadataGroup
from snapmanage.testing.services.storage.zfs_fuse import ZfsFuse
from snapmanage.testing.waiting import until
from tests.contract.labs.btrfs import btrfs_lab
from tests.contract.labs.zfs import zfs_lab
from tests.services.guests.machine import HELPER, PYTHON, Machine, machine

SECTION = privsep.context.cfg_section
NOBODY = 65534

# oslo.privsep leaves its sockets and pipes to the garbage collector, and to the thread that reads the helper's log. The
# fixture `helper` waits for both: the end of that thread would fail the first test of the next file.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


def children(process: int) -> str:
    return "".join(children_of(thread) for thread in Path(f"/proc/{process}/task").iterdir())


def children_of(thread: Path) -> str:
    try:
        return (thread / "children").read_text()
    except OSError:  # The process has ended in the meantime.
        return ""


@contextmanager
def helper_on(machine: Machine) -> Iterator[Machine]:
    """Let this process be a client, with the helper on the machine."""
    use(machine, [PYTHON, "-I", HELPER])
    privsep.context.set_client_mode(True)
    try:
        yield machine
    finally:
        privsep.context.stop()
        cfg.CONF.clear_override("helper_command", SECTION)
        privsep.start()
        until(lambda: not machine.helpers(), "the helper to end with its client")
        gc.collect()
        until(lambda: not any(thread.name == "fd_logger" for thread in threading.enumerate()), "its log to end")


def use(machine: Machine, command: list[str]) -> None:
    cfg.CONF.set_override("helper_command", shlex.join([*machine.enter, *command]), SECTION)


@pytest.fixture
def helper(group: MetadataGroup, installation: Path) -> Iterator[Machine]:
    with machine(installation) as made, helper_on(made):
        made.allow(f"volume_group = {group.name}", "volume_group = group", f"lvm_system_dir = {group.system_dir}")
        yield made


def driver_for(group: MetadataGroup) -> LvmDriver:
    return LvmDriver(group.name, str(group.system_dir), 30)


def test_root_needs_no_daemon(group: MetadataGroup) -> None:
    privsep.start()

    assert [found.name for found in driver_for(group).list_snapshots()] == ["daily"]
    assert privsep.context.channel is None


def test_commands_run_in_the_daemon(group: MetadataGroup, helper: Machine) -> None:
    driver = driver_for(group)
    found = driver.find_snapshot(Reference.named("daily"))
    binding = Binding(found.identity, "daily", driver.managed_name(found, "snapshot-1"))

    driver.manage_snapshot(binding)

    assert group.names() == {"volume", "_snapshot-1"}
    assert len(helper.helpers()) == 1


def test_btrfs_is_read_and_renamed_in_the_daemon(tmp_path: Path, installation: Path) -> None:
    with btrfs_lab(tmp_path) as lab, machine(installation) as made, helper_on(made) as helper:
        helper.allow(f"btrfs_folder = {lab.folder}")
        # The daemon can't override permissions, and it needs no permissions inside of snapshots.
        os.chown(lab.folder / lab.volume, NOBODY, NOBODY)
        (lab.folder / lab.volume).chmod(0o700)
        lab.add_snapshot("snapshots/daily \U0001f600")
        [found] = lab.driver.list_snapshots()
        managed = lab.driver.managed_name(found, "snapshot-1")
        binding = Binding(found.identity, found.name, managed)

        assert lab.driver.manage_snapshot(binding).name == managed
        with pytest.raises(errors.SourceNotFound):
            lab.driver.renamer().rename(found.name, managed)

        assert lab.names() == {managed}
        assert len(helper.helpers()) == 1


def test_snapshot_in_a_folder_that_root_does_not_own_is_listed_as_unusable_and_not_renamed(
    tmp_path: Path, installation: Path
) -> None:
    with btrfs_lab(tmp_path) as lab, machine(installation) as made, helper_on(made) as helper:
        helper.allow(f"btrfs_folder = {lab.folder}")
        lab.add_snapshot("snapshots/daily")
        os.chown(lab.folder / "snapshots", NOBODY, NOBODY)
        (lab.folder / "snapshots").chmod(0o700)

        [found] = lab.driver.list_snapshots()
        with pytest.raises(errors.Unusable, match="owner of the folder"):
            lab.driver.manage_snapshot(Binding(found.identity, found.name, "snapshots/snapshot-1"))
        with pytest.raises(errors.BackendPermission, match="owner of its folder"):
            lab.driver.renamer().rename(found.name, "snapshots/snapshot-1")

        assert lab.names() == {"snapshots/daily"}


def test_zfs_runs_in_the_daemon(zfs_fuse: ZfsFuse, installation: Path) -> None:
    with zfs_lab(zfs_fuse) as lab, machine(installation, zfs_fuse.pid) as made, helper_on(made) as helper:
        helper.allow(f"zfs_dataset = {lab.dataset}")
        lab.add_snapshot(lab.name_of("daily"))
        [found] = lab.driver.list_snapshots()
        managed = lab.driver.managed_name(found, "snapshot-1")

        assert lab.driver.manage_snapshot(Binding(found.identity, found.name, managed)).name == managed
        assert lab.names() == {managed}
        assert len(helper.helpers()) == 1


def test_errors_reach_the_driver_from_the_daemon_unchanged(group: MetadataGroup, helper: Machine) -> None:
    with pytest.raises(errors.InvalidReference, match="reserves names that begin with"):
        driver_for(group).rename("daily", "snapshot-1")

    assert len(helper.helpers()) == 1


def test_daemon_that_was_killed_is_started_again(group: MetadataGroup, helper: Machine) -> None:
    driver = driver_for(group)
    driver.check()
    [daemon] = helper.helpers()
    os.kill(daemon, signal.SIGKILL)
    until(
        lambda: privsep.context.channel and not privsep.context.channel.running,
        "the client to notice that the daemon ended",
    )

    driver.check()

    assert helper.helpers() != [daemon]


def test_death_of_the_daemon_during_a_command_is_an_error_that_is_retried(
    group: MetadataGroup, helper: Machine
) -> None:
    driver = driver_for(group)
    driver.check()
    [daemon] = helper.helpers()

    with group.lock_file().open("a") as lock, ThreadPoolExecutor(1) as worker:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listing = worker.submit(driver.list_snapshots)
        until(lambda: children(daemon), "the daemon to run a command")
        os.kill(daemon, signal.SIGKILL)

        with pytest.raises(errors.BackendUnavailable, match="daemon"):
            listing.result(20)

    assert len(driver.list_snapshots()) == 1


def test_helper_carries_out_sixteen_requests_at_once_and_the_others_wait(group: MetadataGroup, helper: Machine) -> None:
    driver = driver_for(group)
    driver.check()
    [daemon] = helper.helpers()

    with ThreadPoolExecutor(THREADS + 1) as workers:
        with group.lock_file().open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            listings = [workers.submit(driver.list_snapshots) for _ in range(THREADS + 1)]
            until(lambda: len(children(daemon).split()) == THREADS, "the daemon to run sixteen commands")
            assert not any(each.done() for each in listings)

        assert [len(each.result(20)) for each in listings] == [1] * (THREADS + 1)


def test_helper_that_may_not_run_is_a_permission_error(group: MetadataGroup, helper: Machine) -> None:
    use(helper, ["false"])

    with pytest.raises(errors.BackendPermission, match="helper_command"):
        driver_for(group).list_snapshots()


def test_error_for_a_missing_helper_names_it(group: MetadataGroup, helper: Machine) -> None:
    cfg.CONF.set_override("helper_command", "/nowhere/snapmanage-privileged", SECTION)

    with pytest.raises(errors.BackendError, match="snapmanage-privileged"):
        driver_for(group).list_snapshots()


def test_helper_without_root_is_a_permission_error(group: MetadataGroup, helper: Machine) -> None:
    use(helper, ["setpriv", "--reuid=snapmanage", "--regid=snapmanage", "--init-groups", PYTHON, "-I", HELPER])

    with pytest.raises(errors.BackendPermission, match="helper_command") as caught:
        driver_for(group).list_snapshots()

    assert caught.value.code == "backend_permission"


def test_helper_of_the_library_is_refused_everything(group: MetadataGroup, helper: Machine) -> None:
    use(helper, [PYTHON, "-I", "-c", "from oslo_privsep import daemon; daemon.helper_main()"])

    with pytest.raises(errors.BackendPermission, match="snapmanage-privileged"):
        driver_for(group).list_snapshots()


def test_every_argument_is_checked_on_the_privileged_side() -> None:
    privsep.start()
    for arguments in (("-g", "a", "b"), ("g", "-a", "b"), ("g", "a", "-b")):
        with pytest.raises(errors.InvalidReference):
            privileged.lvrename(*arguments, "", 1)
    for group, names in (("-g", []), ("g", ["-a"])):
        with pytest.raises(errors.InvalidReference):
            privileged.lvs(group, names, "", 1)
    for group, column in (("-g", "vg_uuid"), ("g", "vg_tags")):
        with pytest.raises(errors.InvalidReference):
            privileged.vgs(group, column, "", 1)


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o775), (0, 0o757), (0, 0o1777), (NOBODY, 0o755)])
def test_configuration_that_other_users_can_change_is_refused(tmp_path: Path, owner: int, mode: int) -> None:
    require(root=True)
    folder = tmp_path / "lvm"
    folder.mkdir()
    folder.chmod(mode)
    os.chown(folder, owner, -1)
    privsep.start()

    with pytest.raises(errors.ConfigurationError, match="only root can change"):
        LvmDriver("group", str(folder)).list_snapshots()


def test_configuration_behind_a_link_is_refused(tmp_path: Path) -> None:
    require(root=True)
    (tmp_path / "link").symlink_to("/etc")
    privsep.start()

    with pytest.raises(errors.ConfigurationError, match="without symbolic links"):
        LvmDriver("group", str(tmp_path / "link" / "lvm")).list_snapshots()


@pytest.mark.parametrize("name", ["lvm.conf", "lvmlocal.conf", "lvm_tag.conf", "profile/thin.profile"])
def test_file_of_the_configuration_that_other_users_can_change_is_refused(tmp_path: Path, name: str) -> None:
    require(root=True)
    file = tmp_path / "lvm" / name
    file.parent.mkdir(parents=True)
    file.touch()
    file.chmod(0o664)
    privsep.start()

    with pytest.raises(errors.ConfigurationError, match=f"can change '{file}' in lvm_system_dir"):
        LvmDriver("group", str(tmp_path / "lvm")).list_snapshots()
