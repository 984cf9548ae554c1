"""A machine with snapmanage in /opt/snapmanage, the user `snapmanage`, sudo, and a list of allowed names.

It is a mount namespace with its own `/etc` and `/opt`, so the real machine gets no user, no line of sudoers, and no
list. Needs root. The code is copied, since an unprivileged user may be unable to read the checkout, and other users may
be able to change it.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

import snapmanage
from snapmanage.testing.needs import lacking, program, require
from snapmanage.testing.services.process import installed
from snapmanage.testing.waiting import until

REPOSITORY = Path(__file__).parents[3]
USER = "snapmanage"
PYTHON, HELPER = "/opt/snapmanage/bin/python3", "/opt/snapmanage/bin/snapmanage-privileged"
COMMAND = ("/usr/bin/env", PYTHON, "-I", HELPER)
LIST = "/etc/snapmanage/privileged.conf"
PROGRAMS = ("sudo", "visudo", "useradd", "setpriv", "unshare", "nsenter")

_PREPARE = f"""
set -e
mount -t tmpfs -o mode=755 tmpfs "$1/etc"
cp -a /etc/. "$1/etc/"
mount --bind "$1/etc" /etc
mount --bind "$1/opt" /opt
mkdir -p /etc/snapmanage
chmod 755 /etc/snapmanage
{installed("useradd")} --system --no-create-home --shell /usr/sbin/nologin {USER}
install -m 0440 -o root -g root "$2" /etc/sudoers.d/snapmanage
echo ready
exec sleep infinity
"""

# The part of a service that calls a driver.
_MANAGE = """
import importlib, json, logging, sys
from snapmanage import errors
from snapmanage.core.backend import Binding
from snapmanage.core.reference import Reference
from snapmanage.drivers.system import privsep

logging.basicConfig(level=logging.INFO)
order = json.loads(sys.argv[1])
module, name = order["driver"].rsplit(".", 1)
privsep.start()
try:
    driver = getattr(importlib.import_module(module), name)(**order["options"])
    found = driver.find_snapshot(Reference.named(order["source"]))
    managed = driver.managed_name(found, order["name"])
    driver.manage_snapshot(Binding(found.identity, found.name, managed))
    print(json.dumps({"managed": managed}))
except errors.SnapmanageError as error:
    print(json.dumps({"error": type(error).__name__, "text": str(error)}))
"""


class Machine:
    """The running machine; `pid` is a process in its namespace."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def enter(self) -> list[str]:
        return [installed("nsenter"), f"--mount=/proc/{self.pid}/ns/mnt"]

    def run(self, *argv: str, user: str = "root", stdin: str = "") -> "subprocess.CompletedProcess[str]":
        become = [] if user == "root" else [installed("setpriv"), f"--reuid={user}", f"--regid={user}", "--init-groups"]
        # A session of its own keeps sudo from the terminal of the tests.
        return subprocess.run(
            [*self.enter, *become, *argv],
            cwd="/",
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            start_new_session=True,
        )

    def allow(self, *lines: str) -> None:
        self.write(LIST, "\n".join(["[allowed]", *lines, ""]))

    def write(self, path: str, text: str) -> None:
        ended = self.run("/bin/sh", "-c", f"umask 022; cat > '{path}'", stdin=text)
        assert ended.returncode == 0, ended.stderr

    def manage(self, driver: str, options: Mapping[str, Any], source: str, name: str) -> dict[str, str]:
        """Manage a snapshot as the user `snapmanage`; return the managed name, or the error with its text."""
        order = {"driver": driver, "options": options, "source": source, "name": name}
        ended = self.run(PYTHON, "-I", "-c", _MANAGE, json.dumps(order), user=USER)
        assert ended.stdout, ended.stderr
        found: dict[str, str] = json.loads(ended.stdout)
        return found | {"log": ended.stderr}

    def helpers(self) -> list[int]:
        """Return the processes of the helper."""
        return [number for number in map(int, filter(str.isdecimal, os.listdir("/proc"))) if self._is_helper(number)]

    def _is_helper(self, number: int) -> bool:
        try:
            command = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
            inside = os.readlink(f"/proc/{number}/ns/mnt") == os.readlink(f"/proc/{self.pid}/ns/mnt")
        except OSError:
            return False
        return inside and command[0] == os.fsencode(PYTHON) and os.fsencode(HELPER) in command


def install(folder: Path) -> None:
    """Install snapmanage and its dependencies into FOLDER/opt/snapmanage, for root, from the code of the tests."""
    home = folder / "opt" / "snapmanage"
    subprocess.run([_base_python(), "-m", "venv", "--without-pip", str(home)], check=True, capture_output=True)
    [packages] = home.glob("lib/python3.*/site-packages")
    for name in _dependencies("snapmanage", set()):
        _copy(importlib.metadata.distribution(name), packages)
    _copy(_own_distribution(), packages)
    code = Path(snapmanage.__file__).parent
    shutil.copytree(code, packages / "snapmanage", ignore=shutil.ignore_patterns("__pycache__"))
    for path in packages.glob("__editable__*"):
        path.unlink()
    shutil.copy(Path(sys.executable).with_name("snapmanage-privileged"), home / "bin")
    subprocess.run([home / "bin" / "python3", "-m", "compileall", "-q", str(packages)], check=False)
    subprocess.run(["chown", "-R", "root:root", str(home)], check=True)
    subprocess.run(["chmod", "-R", "u=rwX,go=rX", str(home)], check=True)


def _own_distribution() -> importlib.metadata.Distribution:
    """Return the installed snapmanage, and not the traces of a build in the repository, where Python looks first."""
    [found] = importlib.metadata.distributions(name="snapmanage", path=[sysconfig.get_path("purelib")])
    return found


@contextmanager
def machine(folder: Path, inside: int | None = None) -> Iterator[Machine]:
    """Run a machine on the installation in `folder`; with `inside`, in the namespace of that process.

    It sees the mounts that exist now.
    """
    sudoers = REPOSITORY / "etc" / "sudoers.d" / "snapmanage"
    enter = [installed("nsenter"), f"--mount=/proc/{inside}/ns/mnt"] if inside else []
    unshare = [installed("unshare"), "--mount", "--propagation", "private"]
    (folder / "etc").mkdir(exist_ok=True)
    argv = [*enter, *unshare, "/bin/sh", "-c", _PREPARE, "sh", str(folder), str(sudoers)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            made = Machine(process.pid)
            yield made
            until(lambda: not made.helpers(), "the helper to end with its service")
        finally:
            process.kill()


def require_machine() -> None:
    """Skip the test (fail it in CI) unless a machine can be made here."""
    require(*PROGRAMS, root=True)
    _base_python()
    ended = subprocess.run([installed("unshare"), "--mount", "true"], capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        lacking(f"a mount namespace of its own ({ended.stderr.strip()})")


def _base_python() -> str:
    name = f"python3.{sys.version_info.minor}"
    for path in (f"{sys.base_prefix}/bin/{name}", program(name) or "", f"/usr/bin/{name}"):
        readable = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", path, "-c", "import venv"]
        if path and subprocess.run(readable, capture_output=True, check=False).returncode == 0:
            return path
    lacking(f"a {name} that every user can run")
    raise AssertionError


def _dependencies(name: str, found: set[str]) -> set[str]:
    for line in importlib.metadata.requires(name) or ():
        needed = Requirement(line)
        if needed.name not in found and (needed.marker is None or needed.marker.evaluate({"extra": ""})):
            found.add(needed.name)
            _dependencies(needed.name, found)
    return found


def _copy(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    """Copy the files of a distribution that lie in site-packages."""
    for file in distribution.files or ():
        if ".." in file.parts or file.suffix == ".pyc":
            continue
        (packages / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(file.locate()), packages / file)
