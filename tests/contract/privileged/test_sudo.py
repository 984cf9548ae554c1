"""A service without root manages snapshots through sudo, with the documented line, and only the listed ones."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from snapmanage.testing.needs import require
from snapmanage.testing.services.lvm_metadata import MetadataGroup
from snapmanage.testing.services.process import installed
from snapmanage.testing.services.storage.zfs_fuse import ZfsFuse
from tests.contract.labs.btrfs import btrfs_lab
from tests.contract.labs.zfs import zfs_lab
from tests.services.guests.machine import COMMAND, HELPER, PYTHON, REPOSITORY, USER, machine

LVM = "snapmanage.drivers.lvm.driver.LvmDriver"
BTRFS = "snapmanage.drivers.btrfs.driver.BtrfsDriver"
ZFS = "snapmanage.drivers.zfs.driver.ZfsDriver"
ARGUMENTS = ("--privsep_context", "snapmanage.drivers.system.privsep.context", "--privsep_sock_path")
SOCKET = "/tmp/tmpabc_1/privsep.sock"
ENV = COMMAND[0]

# A caller makes a folder that looks like a virtual environment whose program is the allowed one, and whose libraries
# are its own.
_IMPERSONATE = """
set -e
cd "$1"
program=$2
shift 2
ln -s "$(dirname "$program")" bin
mkdir -p base/bin "base/lib/$version/encodings" "base/lib/$version/lib-dynload"
touch "base/lib/$version/os.py"
echo "home = $PWD/base/bin" > pyvenv.cfg
echo "import posix; posix.system('touch /opt/was-here')" > "base/lib/$version/encodings/__init__.py"
exec sudo -n "$PWD/bin/$(basename "$program")" "$@"
"""


def lvm_options(group: MetadataGroup) -> dict[str, object]:
    return {"volume_group": group.name, "lvm_system_dir": str(group.system_dir), "command_timeout_seconds": 30}


def test_line_of_sudoers_is_valid() -> None:
    require("visudo", root=True)

    file = REPOSITORY / "etc" / "sudoers.d" / "snapmanage"
    ended = subprocess.run([installed("visudo"), "--check", "--strict", "--file", str(file)], check=False)

    assert ended.returncode == 0


def test_snapshot_of_lvm_is_managed_by_a_service_without_root(group: MetadataGroup, installation: Path) -> None:
    with machine(installation) as host:
        host.allow(f"volume_group = {group.name}", f"lvm_system_dir = {group.system_dir}")

        outcome = host.manage(LVM, lvm_options(group), "daily", "snapshot-1")

    assert outcome["managed"] == "_snapshot-1", outcome
    assert group.names() == {"volume", "_snapshot-1"}


def test_snapshot_of_btrfs_is_managed_by_a_service_without_root(tmp_path: Path, installation: Path) -> None:
    with btrfs_lab(tmp_path) as lab, machine(installation) as host:
        lab.add_snapshot("snapshots/daily")
        host.allow(f"btrfs_folder = {lab.folder}")

        outcome = host.manage(BTRFS, {"btrfs_folder": str(lab.folder)}, "snapshots/daily", "snapshot-1")

        assert outcome["managed"] == "snapshots/snapshot-1", outcome
        assert lab.names() == {"snapshots/snapshot-1"}


def test_snapshot_of_zfs_is_managed_by_a_service_without_root(zfs_fuse: ZfsFuse, installation: Path) -> None:
    with zfs_lab(zfs_fuse) as lab, machine(installation, zfs_fuse.pid) as host:
        lab.add_snapshot(lab.name_of("daily"))
        host.allow(f"zfs_dataset = {lab.dataset}")

        outcome = host.manage(ZFS, {"zfs_dataset": lab.dataset}, lab.name_of("daily"), "snapshot-1")

        assert outcome["managed"] == lab.name_of("snapshot-1"), outcome
        assert lab.names() == {lab.name_of("snapshot-1")}


@pytest.mark.parametrize("line", ["", "volume_group = another-group", "zfs_dataset = test-group"])
def test_group_that_is_not_listed_is_refused_with_the_line_to_add(
    line: str, group: MetadataGroup, installation: Path
) -> None:
    with machine(installation) as host:
        host.allow(f"lvm_system_dir = {group.system_dir}", line)

        outcome = host.manage(LVM, lvm_options(group), "daily", "snapshot-1")

    assert outcome["error"] == "BackendPermission"
    assert "/etc/snapmanage/privileged.conf" in outcome["text"]
    assert f"add the line 'volume_group = {group.name}'" in outcome["text"]
    assert group.names() == {"volume", "daily"}


def test_entry_of_the_list_has_effect_without_a_restart(group: MetadataGroup, installation: Path) -> None:
    with machine(installation) as host:
        host.allow(f"lvm_system_dir = {group.system_dir}")
        refused = host.manage(LVM, lvm_options(group), "daily", "snapshot-1")
        host.allow(f"lvm_system_dir = {group.system_dir}", f"volume_group = {group.name}")

        assert refused["error"] == "BackendPermission"
        assert "managed" in host.manage(LVM, lvm_options(group), "daily", "snapshot-1")


@pytest.mark.parametrize(
    "arguments",
    [
        (*COMMAND, *ARGUMENTS, SOCKET, "--log-config-append", "/tmp/evil.conf"),
        (*COMMAND, "--config-file", "/tmp/evil.conf", *ARGUMENTS, SOCKET),
        (*COMMAND, "--privsep_context", "os_brick.privileged.default", "--privsep_sock_path", SOCKET),
        (*COMMAND, *ARGUMENTS, "/run/docker.sock"),
        (*COMMAND, *ARGUMENTS, "/tmp/tmpa/../x/privsep.sock"),
        (ENV, PYTHON, HELPER, *ARGUMENTS, SOCKET),
        (ENV, PYTHON, "-I", "-c", "import os; os.system('id')"),
        (ENV, "PYTHONHOME=/tmp", *COMMAND[1:], *ARGUMENTS, SOCKET),
        (*COMMAND[1:], *ARGUMENTS, SOCKET),
        (ENV,),
        (PYTHON,),
    ],
)
def test_sudo_refuses_any_other_command(arguments: tuple[str, ...], installation: Path) -> None:
    with machine(installation) as host:
        ended = host.run("sudo", "-n", *arguments, user=USER)

        assert ended.returncode != 0
        assert "a password is required" in ended.stderr


def test_caller_can_not_choose_the_libraries_by_a_link_to_the_program(installation: Path) -> None:
    version = f"version=python3.{sys.version_info.minor}"
    with machine(installation) as host, tempfile.TemporaryDirectory() as folder:
        host.run("chown", USER, folder)

        ended = host.run(
            "env", version, "sh", "-c", _IMPERSONATE, "sh", folder, *COMMAND, *ARGUMENTS, SOCKET, user=USER
        )

        assert "privileged.conf is missing" in ended.stderr
        assert host.run("ls", "/opt/was-here").returncode != 0


def test_line_of_sudoers_that_allows_python_itself_is_refused(installation: Path) -> None:
    line = (REPOSITORY / "etc" / "sudoers.d" / "snapmanage").read_text().replace(f"{ENV} ^{PYTHON} -I", f"{PYTHON} ^-I")
    with machine(installation) as host:
        host.write("/etc/sudoers.d/snapmanage", line)

        ended = host.run("sudo", "-n", *COMMAND[1:], *ARGUMENTS, SOCKET, user=USER)

        assert ended.returncode == 1
        assert "can run any code as root: replace the line" in ended.stderr


def test_program_behind_a_link_that_the_caller_can_replace_is_refused(installation: Path) -> None:
    with machine(installation) as host, tempfile.TemporaryDirectory() as folder:
        host.run("ln", "-s", str(Path(PYTHON).parents[1]), f"{folder}/snapmanage")
        host.run("chown", USER, folder)
        program, helper = (f"{folder}/snapmanage/bin/{Path(path).name}" for path in (PYTHON, HELPER))

        ended = host.run(program, "-I", helper, "--check")

        assert ended.returncode == 1
        assert "or a folder or symbolic link on the way to it" in ended.stderr


def test_environment_of_the_caller_does_not_reach_the_helper(group: MetadataGroup, installation: Path) -> None:
    with machine(installation) as host:
        host.allow(f"volume_group = {group.name}", f"lvm_system_dir = {group.system_dir}")
        host.write("/opt/evil.py", "open('/opt/was-here', 'w')\n")

        evil = ["env", "PYTHONPATH=/opt", "PYTHONSTARTUP=/opt/evil.py", "OS_SNAPMANAGE_SYS_ADMIN__USER=snapmanage"]
        ended = host.run(*evil, "sudo", "-nE", *COMMAND, *ARGUMENTS, SOCKET, user=USER)

        assert "not allowed to preserve the environment" in ended.stderr
        assert host.run("ls", "/opt/was-here").returncode != 0


def test_sudoers_names_the_default_of_helper_command() -> None:
    line = (REPOSITORY / "etc" / "sudoers.d" / "snapmanage").read_text()
    sample = (REPOSITORY / "etc" / "snapmanage" / "snapmanage.conf.sample").read_text()

    assert f"{ENV} ^{PYTHON} -I {HELPER} " in line
    assert f"#helper_command = sudo -n {' '.join(COMMAND)}\n" in sample
