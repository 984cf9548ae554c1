"""A service that an attacker controls gains no more through the helper than the entries of the list."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from snapmanage.testing.services.lvm_metadata import MetadataGroup
from snapmanage.testing.waiting import until
from tests.contract.privileged.attacker import ARGUMENTS, ERR, attack, command
from tests.services.guests.machine import COMMAND, HELPER, PYTHON, USER, Machine, machine

DRIVERS = "snapmanage.drivers"
REFUSED = "snapmanage.errors.BackendPermission"
CAP_SYS_ADMIN = 1 << 21


@pytest.fixture
def host(installation: Path) -> Iterator[Machine]:
    with machine(installation) as made:
        made.allow("volume_group = mine", "btrfs_folder = /srv/mine", "zfs_dataset = tank/mine")
        yield made


@contextmanager
def started(host: Machine, before: Sequence[str] = (), ignored: Sequence[str] = ()) -> Iterator[Path]:
    """Start the helper with words before sudo and with ignored signals; yield its folder in /proc."""
    become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
    argv = [*host.enter, *become, *command(before, ignored)]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, cwd="/") as process:
        assert process.stdout is not None
        assert process.stdout.readline(), "the helper did not start"
        [helper] = host.helpers()
        yield Path(f"/proc/{helper}")


def status(process: Path) -> dict[str, str]:
    lines = (process / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "subprocess.run", "builtins.exec", "importlib.import_module", "ctypes.CDLL"),
        *(f"{DRIVERS}.system.commands.run", f"{DRIVERS}.system.boundary.use", f"{DRIVERS}.system.privsep.start"),
        *(f"{DRIVERS}.lvm.privileged._run", f"{DRIVERS}.btrfs.folder.rename", f"{DRIVERS}.zfs.commands.rename"),
        *(f"{DRIVERS}.lvm.privileged", "", "lvs"),
    ],
)
def test_function_that_is_no_entry_point_is_refused(name: str, host: Machine) -> None:
    [reply] = attack(host, (name, ["touch /opt/was-here"]))

    assert reply[:2] == [ERR, REFUSED]
    assert "no entry point" in reply[2][0]
    assert host.run("ls", "/opt/was-here").returncode != 0


def test_module_that_a_request_names_is_not_imported(host: Machine) -> None:
    [packages] = host.run("/bin/sh", "-c", "ls -d /opt/snapmanage/lib/*/site-packages").stdout.split()
    host.write(f"{packages}/acts_when_imported.py", "open('/opt/was-here', 'w')\n")

    [reply] = attack(host, ("acts_when_imported.function", []))

    assert reply[:2] == [ERR, REFUSED]
    assert host.run("ls", "/opt/was-here").returncode != 0
    host.run("rm", f"{packages}/acts_when_imported.py")


@pytest.mark.parametrize(
    ("name", "arguments", "line"),
    [
        ("lvm.privileged.lvs", ["other", [], "", 10], "volume_group = other"),
        ("lvm.privileged.vgs", ["other", "vg_uuid", "", 10], "volume_group = other"),
        ("lvm.privileged.lvrename", ["other", "a", "b", "", 10], "volume_group = other"),
        ("lvm.privileged.lvs", ["mine", [], "/tmp", 10], "lvm_system_dir = /tmp"),
        ("lvm.privileged.lvs", ["mine", [], "/etc/lvm", 10], "lvm_system_dir = /etc/lvm"),
        ("btrfs.privileged.look_up", ["/", "", []], "btrfs_folder = /"),
        ("btrfs.privileged.look_up", ["/srv/mine/../yours", "", []], "btrfs_folder = /srv/mine/../yours"),
        ("btrfs.privileged.folder_id", ["/srv/mine/", ""], "btrfs_folder = /srv/mine/"),
        ("btrfs.privileged.locate", ["/srv/minery", "", [], []], "btrfs_folder = /srv/minery"),
        ("btrfs.privileged.snapshots", ["/srv", ""], "btrfs_folder = /srv"),
        ("btrfs.privileged.rename_subvolume", ["/srv", "", "a", "b"], "btrfs_folder = /srv"),
        ("btrfs.privileged.sync_names", ["/srv/mine/inner", "", "a"], "btrfs_folder = /srv/mine/inner"),
        ("zfs.privileged.zfs_get", [["tank/mine", "other/x"], False, 10], "zfs_dataset = other"),
        ("zfs.privileged.zfs_rename", ["tank/yours@a", "tank/yours@b", 10], "zfs_dataset = tank/yours"),
        ("zfs.privileged.zfs_rename", ["tank/minery@a", "tank/minery@b", 10], "zfs_dataset = tank/minery"),
        ("zfs.privileged.zfs_rename", ["tank@a", "tank@b", 10], "zfs_dataset = tank"),
    ],
)
def test_name_outside_of_the_list_is_refused_with_the_line_to_add(
    name: str, arguments: list[object], line: str, host: Machine
) -> None:
    [reply] = attack(host, (f"{DRIVERS}.{name}", arguments))

    assert reply[:2] == [ERR, REFUSED]
    assert f"add the line '{line}'" in reply[2][0]


def test_report_of_every_pool_is_refused(host: Machine) -> None:
    [reply] = attack(host, (f"{DRIVERS}.zfs.privileged.zfs_get", [[], True, 10]))

    assert reply[:2] == [ERR, "snapmanage.errors.InvalidReference"]


def test_reply_that_the_service_could_not_receive_is_an_error(host: Machine) -> None:
    host.write("/opt/prints-much", "#!/bin/sh\nexec head -c 110000000 /dev/zero\n")
    bind = "chmod 755 /opt/prints-much; mount --bind /opt/prints-much $(command -v lvs)"
    assert host.run("/bin/sh", "-c", bind).returncode == 0
    call = (f"{DRIVERS}.lvm.privileged.lvs", ["mine", [], "", 30])

    too_long, next_one = attack(host, call, (f"{DRIVERS}.lvm.privileged.nothing", ()))

    assert too_long[:2] == [ERR, "snapmanage.errors.BackendUnavailable"]
    assert "returns at most 100663296" in too_long[2][0]
    assert next_one[:2] == [ERR, REFUSED]


def test_folder_behind_a_link_of_another_user_is_refused(host: Machine) -> None:
    host.allow("btrfs_folder = /srv/of-the-user/mine", "btrfs_folder = /srv/link")
    make = f"mkdir of-the-user; ln -s / link; ln -s / of-the-user/mine; chown -h {USER} of-the-user"
    prepare = f"mount -t tmpfs -o mode=755 tmpfs /srv; cd /srv; {make}"
    assert host.run("/bin/sh", "-c", prepare).returncode == 0

    foreign, link = attack(
        host,
        (f"{DRIVERS}.btrfs.privileged.rename_subvolume", ["/srv/of-the-user/mine", "", "a", "b"]),
        (f"{DRIVERS}.btrfs.privileged.rename_subvolume", ["/srv/link", "", "a", "b"]),
    )

    assert foreign[:2] == [ERR, REFUSED]
    assert "others than root can change a folder above" in foreign[2][0]
    assert link[0] == ERR
    assert "can't open the folder '/srv/link'" in link[2][0]


def test_socket_of_another_user_is_refused(host: Machine) -> None:
    path = f"/tmp/tmp{os.getpid()}/privsep.sock"
    listen = (
        f"import os, socket; os.makedirs({os.path.dirname(path)!r}, exist_ok=True); s = socket.socket(socket.AF_UNIX);"
        f"s.bind({path!r}); s.listen(1); os.chmod({path!r}, 0o777); print('ready', flush=True); s.accept(); input()"
    )
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    argv = [*host.enter, *become, PYTHON, "-I", "-c", listen]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == b"ready\n"
            ended = host.run("sudo", "-n", *COMMAND, *ARGUMENTS, path, user=USER)
        finally:
            other.kill()
            shutil.rmtree(os.path.dirname(path))

    assert ended.returncode == 1
    assert "user 65534 listens" in ended.stderr


def test_limits_signals_and_folder_of_the_caller_do_not_reach_the_helper(host: Machine) -> None:
    low = ["prlimit", "--cpu=1000:", "--fsize=1000000:", "--as=4000000000:", "--stack=4000000:", "env", "-C", "/tmp"]

    with started(host, low, ["SIGTERM", "SIGHUP"]) as helper:
        limits = {line[:25].strip(): line[25:].split()[:2] for line in (helper / "limits").read_text().splitlines()}
        ignored = int(status(helper)["SigIgn"], 16)

        for name in ("Max cpu time", "Max file size", "Max address space"):
            assert limits[name] == ["unlimited", "unlimited"], name
        assert limits["Max stack size"] == ["8388608", "8388608"]
        assert limits["Max core file size"] == ["0", "0"]
        assert not ignored & (1 << 14 | 1 << 0)
        assert status(helper)["Umask"] == "0077"
        assert os.getsid(int(helper.name)) == int(helper.name)
        assert os.readlink(helper / "cwd") == "/"


def test_priorities_of_the_caller_do_not_reach_the_helper(host: Machine) -> None:
    expendable = 'echo 1000 > /proc/self/oom_score_adj; exec "$@"'
    low = ["sh", "-c", expendable, "sh", "nice", "-n", "19", "chrt", "--idle", "0", "taskset", "1", "ionice", "-c3"]

    with started(host, low) as helper:
        process = int(helper.name)

        assert (helper / "oom_score_adj").read_text() == "0\n"
        assert os.getpriority(os.PRIO_PROCESS, process) == 0
        assert os.sched_getscheduler(process) == os.SCHED_OTHER
        assert os.sched_getaffinity(process) == os.sched_getaffinity(1)
        shown = subprocess.run(["ionice", "--pid", str(process)], capture_output=True, text=True, check=True)
        assert "idle" not in shown.stdout


def test_helper_and_its_commands_have_one_capability(group: MetadataGroup, host: Machine) -> None:
    host.allow(f"volume_group = {group.name}", f"lvm_system_dir = {group.system_dir}")
    call = (f"{DRIVERS}.lvm.privileged.lvs", [group.name, [], str(group.system_dir), 30])

    with group.lock_file().open("a") as lock, ThreadPoolExecutor(1) as worker:
        fcntl.flock(lock, fcntl.LOCK_EX)
        attacking = worker.submit(attack, host, call)
        until(lambda: lvs_of(host), "the helper to run lvs")
        [helper], [lvs] = host.helpers(), lvs_of(host)

        for process in (helper, lvs):
            capabilities = {name: status(Path(f"/proc/{process}"))[name] for name in ("CapPrm", "CapEff", "NoNewPrivs")}
            assert capabilities == {
                "CapPrm": f"{CAP_SYS_ADMIN:016x}",
                "CapEff": f"{CAP_SYS_ADMIN:016x}",
                "NoNewPrivs": "1",
            }
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert attacking.result(60)[0][0] != ERR


def lvs_of(host: Machine) -> list[int]:
    """Return the `lvs` that the helper runs; the helper's first process ends once the second one serves."""
    found = []
    for helper in host.helpers():
        with suppress(OSError):
            for thread in Path(f"/proc/{helper}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split() if name_of(child) == "lvs"]
    return found


def name_of(process: str) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("chmod 664 /etc/snapmanage/privileged.conf", "writable by root only"),
        (f"chown {USER} /etc/snapmanage/privileged.conf", "belong to root"),
        ("chmod 777 /etc/snapmanage", "writable by root only"),
        (
            "cd /etc/snapmanage; mv privileged.conf /etc/real; ln -s /etc/real privileged.conf",
            "no symbolic link",
        ),
        ("rm /etc/snapmanage/privileged.conf", "is missing"),
        ("echo 'volume_groups = x' >> /etc/snapmanage/privileged.conf", "'volume_groups'"),
        (f"chown {USER} /opt/snapmanage/lib/python3*/site-packages/snapmanage", "can change /opt/snapmanage"),
    ],
)
def test_helper_refuses_to_start_where_others_could_change_its_list_or_code(
    change: str, expected: str, host: Machine
) -> None:
    host.run("/bin/sh", "-c", change)
    try:
        checked = host.run(PYTHON, "-I", HELPER, "--check")
    finally:
        host.run("chown", "root", "-R", "/opt/snapmanage/lib")

    assert checked.returncode == 1
    assert expected in checked.stderr


def test_check_prints_the_allowed_names(host: Machine) -> None:
    checked = host.run(PYTHON, "-I", HELPER, "--check")

    assert checked.stdout == "volume_group = mine\nbtrfs_folder = /srv/mine\nzfs_dataset = tank/mine\n"


def test_python_that_obeys_its_environment_is_refused(host: Machine) -> None:
    ended = host.run(PYTHON, HELPER, "--check")

    assert ended.returncode == 1
    assert f"start {PYTHON} -I" in ended.stderr
