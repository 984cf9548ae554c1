"""Privileged commands in a daemon of oslo.privsep: they have the same results, and its failures are retried."""

import fcntl
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from oslo_config import cfg

from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.lvm import privileged
from snapmanage.drivers.lvm.driver import LvmDriver
from snapmanage.drivers.system import privsep
from snapmanage.testing.needs import lacking, require
from snapmanage.testing.services.lvm_metadata import MetadataGroup, metadata_group
from snapmanage.testing.services.process import installed
from snapmanage.testing.waiting import until
from tests.contract.labs.btrfs import btrfs_lab
from tests.contract.labs.zfs import zfs_lab
from tests.services.uml import REPOSITORY
from tests.services.zfs_fuse import ZfsFuse

SECTION = privsep.context.cfg_section
NOBODY = 65534
HELPER = Path(sys.executable).with_name("privsep-helper")

# oslo.privsep leaves its sockets and pipes to the garbage collector; the fixture `helper` runs it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[MetadataGroup]:
    require("lvs", "losetup", root=True)
    with metadata_group(tmp_path) as group:
        group.add_volumes("volume")
        group.add_thick_snapshots("volume", "daily")
        yield group


class Helper:
    """The command that starts the daemon; its unique configuration file identifies the daemon's process."""

    def __init__(self, configuration: Path) -> None:
        self.configuration = configuration
        self.use(f"{HELPER} --config-file {configuration}")
        self.configure("")

    def use(self, command: str) -> None:
        cfg.CONF.set_override("helper_command", command, SECTION)

    def configure(self, lines: str) -> None:
        self.configuration.write_text(f"[{SECTION}]\n{lines}\n")

    def daemons(self) -> list[int]:
        numbers = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        return [number for number in numbers if os.fsencode(self.configuration) in command_line(number)]


def command_line(process: int) -> bytes:
    """Return the raw command line; one of another program may not be text."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def children(process: int) -> str:
    return "".join(children_of(thread) for thread in Path(f"/proc/{process}/task").iterdir())


def children_of(thread: Path) -> str:
    try:
        return (thread / "children").read_text()
    except OSError:  # The process has ended in the meantime.
        return ""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Helper]:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    helper = Helper(tmp_path / "privsep.conf")
    privsep.context.set_client_mode(True)
    yield helper
    privsep.context.stop()
    cfg.CONF.clear_override("helper_command", SECTION)
    privsep.start()
    until(lambda: not helper.daemons(), "the daemon to end with its client")
    gc.collect()


def driver_for(group: MetadataGroup) -> LvmDriver:
    return LvmDriver(group.name, str(group.system_dir), 30)


def test_root_needs_no_daemon(group: MetadataGroup) -> None:
    privsep.start()

    assert [found.name for found in driver_for(group).list_snapshots()] == ["daily"]
    assert privsep.context.channel is None


def test_commands_run_in_the_daemon(group: MetadataGroup, helper: Helper) -> None:
    driver = driver_for(group)
    found = driver.find_snapshot(Reference.named("daily"))
    binding = Binding(found.identity, "daily", driver.managed_name(found, "snapshot-1"))

    driver.manage_snapshot(binding)

    assert group.names() == {"volume", "_snapshot-1"}
    assert len(helper.daemons()) == 1


def test_btrfs_is_read_and_renamed_in_the_daemon(tmp_path: Path, helper: Helper) -> None:
    with btrfs_lab(tmp_path) as lab:
        privsep.context.set_client_mode(True)
        # The daemon can't override permissions, and it needs no permissions inside of snapshots.
        os.chown(lab.folder / lab.volume, NOBODY, NOBODY)
        (lab.folder / lab.volume).chmod(0o700)
        lab.add_snapshot("snapshots/daily \U0001f600")
        [found] = lab.driver.list_snapshots()
        managed = lab.driver.managed_name(found, "snapshot-1")
        binding = Binding(found.identity, found.name, managed)

        assert lab.driver.manage_snapshot(binding).name == managed
        with pytest.raises(errors.SourceNotFound):
            lab.driver.rename(found.name, managed)

        assert lab.names() == {managed}
        assert len(helper.daemons()) == 1


def test_snapshot_in_a_folder_that_root_does_not_own_is_listed_as_unusable_and_not_renamed(
    tmp_path: Path, helper: Helper
) -> None:
    with btrfs_lab(tmp_path) as lab:
        lab.add_snapshot("snapshots/daily")
        os.chown(lab.folder / "snapshots", NOBODY, NOBODY)
        (lab.folder / "snapshots").chmod(0o700)
        privsep.context.set_client_mode(True)

        [found] = lab.driver.list_snapshots()
        with pytest.raises(errors.Unusable, match="owner of the folder"):
            lab.driver.manage_snapshot(Binding(found.identity, found.name, "snapshots/snapshot-1"))
        with pytest.raises(errors.BackendPermission, match="owner of its folder"):
            lab.driver.rename(found.name, "snapshots/snapshot-1")

        assert lab.names() == {"snapshots/daily"}


def test_zfs_runs_in_the_daemon(zfs_fuse: ZfsFuse, helper: Helper) -> None:
    helper.use(
        f"{installed('nsenter')} --mount=/proc/{zfs_fuse.pid}/ns/mnt {HELPER} --config-file {helper.configuration}"
    )
    with zfs_lab(zfs_fuse) as lab:
        privsep.context.set_client_mode(True)
        lab.add_snapshot(lab.name_of("daily"))
        [found] = lab.driver.list_snapshots()
        managed = lab.driver.managed_name(found, "snapshot-1")

        assert lab.driver.manage_snapshot(Binding(found.identity, found.name, managed)).name == managed
        assert lab.names() == {managed}
        assert len(helper.daemons()) == 1


def test_errors_reach_the_driver_from_the_daemon_unchanged(group: MetadataGroup, helper: Helper) -> None:
    with pytest.raises(errors.InvalidReference, match="reserves names that begin with"):
        driver_for(group).rename("daily", "snapshot-1")

    assert len(helper.daemons()) == 1


def test_daemon_that_was_killed_is_started_again(group: MetadataGroup, helper: Helper) -> None:
    driver = driver_for(group)
    driver.check()
    [daemon] = helper.daemons()
    os.kill(daemon, signal.SIGKILL)
    until(
        lambda: privsep.context.channel and not privsep.context.channel.running,
        "the client to notice that the daemon ended",
    )

    driver.check()

    assert helper.daemons() != [daemon]


def test_death_of_the_daemon_during_a_command_is_an_error_that_is_retried(group: MetadataGroup, helper: Helper) -> None:
    driver = driver_for(group)
    driver.check()
    [daemon] = helper.daemons()

    with group.lock_file().open("a") as lock, ThreadPoolExecutor(1) as worker:
        fcntl.flock(lock, fcntl.LOCK_EX)
        listing = worker.submit(driver.list_snapshots)
        until(lambda: children(daemon), "the daemon to run a command")
        os.kill(daemon, signal.SIGKILL)

        with pytest.raises(errors.BackendUnavailable, match="daemon"):
            listing.result(20)

    assert len(driver.list_snapshots()) == 1


def test_helper_that_may_not_run_is_a_permission_error(group: MetadataGroup, helper: Helper) -> None:
    helper.use("false")

    with pytest.raises(errors.BackendPermission, match="helper_command"):
        driver_for(group).list_snapshots()


def test_error_for_a_missing_helper_names_it(group: MetadataGroup, helper: Helper) -> None:
    helper.use("/nowhere/privsep-helper")

    with pytest.raises(errors.BackendError, match="privsep-helper"):
        driver_for(group).list_snapshots()


def test_daemon_without_root_is_a_permission_error(helper: Helper) -> None:
    require("lvs", root=True)
    # The helper imports the code after it has dropped its rights.
    look = ["test", "-r", privileged.__file__]
    if subprocess.run(look, user=NOBODY, group=NOBODY, extra_groups=[], check=False).returncode:
        lacking("read access of the user nobody to the code")
    helper.configure("user = nobody")

    with pytest.raises(errors.BackendPermission) as caught:
        LvmDriver("group").list_snapshots()

    assert caught.value.code == "backend_permission"


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


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o775), (0, 0o757), (NOBODY, 0o755)])
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
